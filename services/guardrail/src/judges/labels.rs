//! What placeholders call what a judge has found: a closed set, so that no word of a judge's stands in a text.

use crate::checks::Finding;
use crate::checks::mask::Instead;
use std::{borrow::Cow, ops::Range};

/// Entities of Presidio's (<https://microsoft.github.io/presidio/supported_entities/>): what placeholders name. Any other is `PII`.
const ENTITIES: [&str; 33] = [
    "AU_ABN",
    "AU_ACN",
    "AU_MEDICARE",
    "AU_TFN",
    "CREDIT_CARD",
    "CRYPTO",
    "DATE_TIME",
    "EMAIL_ADDRESS",
    "ES_NIE",
    "ES_NIF",
    "FI_PERSONAL_IDENTITY_CODE",
    "IBAN_CODE",
    "IN_AADHAAR",
    "IN_PAN",
    "IP_ADDRESS",
    "IT_FISCAL_CODE",
    "LOCATION",
    "MEDICAL_LICENSE",
    "NRP",
    "ORGANIZATION",
    "PERSON",
    "PHONE_NUMBER",
    "PL_PESEL",
    "SG_NRIC_FIN",
    "UK_NHS",
    "UK_NINO",
    "URL",
    "US_BANK_NUMBER",
    "US_DRIVER_LICENSE",
    "US_ITIN",
    "US_PASSPORT",
    "US_SSN",
    "PII",
];

/// How sure a judge's finding is: one that a form or a checksum proves keeps its span where the two overlap.
const SCORE: f32 = 0.5;

/// What a judge has found there.
pub(super) fn finding(span: Range<usize>, entity: &str) -> Finding {
    Finding { span, label: Cow::Borrowed(label(entity)), score: SCORE, instead: Instead::default() }
}

/// The name of an entity in placeholders.
pub(super) fn label(entity: &str) -> &'static str {
    ENTITIES.into_iter().find(|known| *known == entity).unwrap_or("PII")
}
