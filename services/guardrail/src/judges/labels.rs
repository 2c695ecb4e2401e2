//! What placeholders call what a judge has found: a closed set, so that no word of a judge's stands in a text.

use crate::checks::Finding;
use crate::checks::mask::Instead;
use std::{borrow::Cow, ops::Range};

/// Entities of Presidio's (<https://microsoft.github.io/presidio/supported_entities/>), as of 2.2.366: what placeholders name. Any other is `PII`.
const ENTITIES: &[&str] = &[
    "ABA_ROUTING_NUMBER",
    "AU_ABN",
    "AU_ACN",
    "AU_MEDICARE",
    "AU_TFN",
    "CA_POSTAL_CODE",
    "CA_SIN",
    "CREDIT_CARD",
    "CRYPTO",
    "DATE_TIME",
    "DE_BSNR",
    "DE_FUEHRERSCHEIN",
    "DE_HANDELSREGISTER",
    "DE_HEALTH_INSURANCE",
    "DE_ID_CARD",
    "DE_KFZ",
    "DE_LANR",
    "DE_PASSPORT",
    "DE_PLZ",
    "DE_SOCIAL_SECURITY",
    "DE_TAX_ID",
    "DE_TAX_NUMBER",
    "DE_VAT_ID",
    "EMAIL_ADDRESS",
    "ES_NIE",
    "ES_NIF",
    "ES_PASSPORT",
    "FI_PERSONAL_IDENTITY_CODE",
    "IBAN_CODE",
    "IN_AADHAAR",
    "IN_GSTIN",
    "IN_PAN",
    "IN_PASSPORT",
    "IN_VEHICLE_REGISTRATION",
    "IN_VOTER",
    "IP_ADDRESS",
    "IT_DRIVER_LICENSE",
    "IT_FISCAL_CODE",
    "IT_IDENTITY_CARD",
    "IT_PASSPORT",
    "IT_VAT_CODE",
    "KR_BRN",
    "KR_DRIVER_LICENSE",
    "KR_FRN",
    "KR_PASSPORT",
    "KR_RRN",
    "LOCATION",
    "MAC_ADDRESS",
    "MEDICAL_LICENSE",
    "NG_NIN",
    "NG_VEHICLE_REGISTRATION",
    "NRP",
    "ORGANIZATION",
    "PERSON",
    "PHONE_NUMBER",
    "PH_PASSPORT",
    "PH_TIN",
    "PH_UMID",
    "PL_PESEL",
    "SE_ORGANISATIONSNUMMER",
    "SE_PERSONNUMMER",
    "SG_NRIC_FIN",
    "SG_UEN",
    "TH_TNIN",
    "TR_LICENSE_PLATE",
    "TR_NATIONAL_ID",
    "UK_DRIVING_LICENCE",
    "UK_NHS",
    "UK_NINO",
    "UK_PASSPORT",
    "UK_POSTCODE",
    "UK_VEHICLE_REGISTRATION",
    "URL",
    "US_BANK_NUMBER",
    "US_CLAIM_NUMBER",
    "US_DRIVER_LICENSE",
    "US_HEALTH_INSURANCE_MEMBER_ID",
    "US_ITIN",
    "US_MBI",
    "US_NPI",
    "US_PASSPORT",
    "US_PRESCRIPTION_NUMBER",
    "US_PRIOR_AUTHORIZATION_NUMBER",
    "US_PROVIDER_TAX_ID",
    "US_REFERRAL_NUMBER",
    "US_SSN",
    "UUID",
    "ZA_COMPANY_REGISTRATION",
    "ZA_DRIVER_LICENSE",
    "ZA_ID_NUMBER",
    "ZA_INCOME_TAX_NUMBER",
    "ZA_LICENSE_PLATE",
    "ZA_MOBILE_NUMBER",
    "ZA_PASSPORT",
    "ZA_TELEPHONE_NUMBER",
    "ZA_TRAFFIC_REGISTER_NUMBER",
    "ZA_VAT_NUMBER",
];

/// How sure a judge's finding is at most: one that a form or a checksum proves keeps its span where the two overlap.
const SCORE: f32 = 0.5;

/// What a judge has found there, and how sure it says it is, from 0 to 1.
pub(super) fn finding(span: Range<usize>, entity: &str, sure: f32) -> Finding {
    let score = SCORE * sure.clamp(0.0, 1.0);
    Finding { span, label: Cow::Borrowed(label(entity)), score, instead: Instead::default() }
}

/// Whether an analyzer knows an entity of this name, unless it has been taught others.
pub fn is_known(entity: &str) -> bool {
    ENTITIES.contains(&entity)
}

/// The name of an entity in placeholders.
pub(super) fn label(entity: &str) -> &'static str {
    ENTITIES.iter().copied().find(|known| *known == entity).unwrap_or("PII")
}
