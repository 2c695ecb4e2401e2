//! Personal data and secrets that can be recognised without a model, one small recogniser per file.
//!
//! Where a format has a checksum or strict rules, they are applied; where it has neither, a bare number counts only beside a
//! context word. Every recogniser is linear in the text. Persons, places and organisations need a model and are not here.

mod context;
mod credit_card;
mod digits;
mod email_address;
mod iban_code;
mod ip_address;
mod phone_number;
mod secret;
mod uk_nhs;
mod url;
mod us_itin;
mod us_ssn;

use super::Finding;
use super::fold::Folded;
use std::ops::Range;

/// What a recogniser reports: where, and whether a checksum or strict format stands behind it.
type Report<'a> = &'a mut dyn FnMut(Range<usize>, bool);

macro_rules! entities {
    ($($(#[$doc:meta])* $variant:ident = $text:literal;)*) => {
        /// A kind of personal data.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Entity { $($(#[$doc])* $variant,)* }

        impl Entity {
            /// Every entity that this version recognises.
            pub const ALL: &'static [Entity] = &[$(Entity::$variant,)*];

            /// Its name in configuration and placeholders.
            pub fn as_str(self) -> &'static str {
                match self { $(Entity::$variant => $text,)* }
            }
        }
    };
}

entities! {
    /// Mail addresses.
    EmailAddress = "EMAIL_ADDRESS";
    /// Telephone numbers of the configured regions, and of any region in international form.
    PhoneNumber = "PHONE_NUMBER";
    /// Payment card numbers.
    CreditCard = "CREDIT_CARD";
    /// US social security numbers.
    UsSsn = "US_SSN";
    /// International bank account numbers.
    IbanCode = "IBAN_CODE";
    /// Cloud keys, tokens with known prefixes, JSON web tokens, private keys, passwords in URLs.
    Secret = "SECRET";
    /// IPv4 and IPv6 addresses.
    IpAddress = "IP_ADDRESS";
    /// Web addresses.
    Url = "URL";
    /// US individual taxpayer identification numbers.
    UsItin = "US_ITIN";
    /// UK National Health Service numbers.
    UkNhs = "UK_NHS";
}

/// What is looked for when the configuration names no entities. Never URLs or IP addresses, which wreck code.
pub const DEFAULT_ENTITIES: &[Entity] =
    &[Entity::EmailAddress, Entity::PhoneNumber, Entity::CreditCard, Entity::IbanCode, Entity::UsSsn, Entity::Secret];

impl Entity {
    /// The entity of that name.
    pub fn parse(name: &str) -> Option<Entity> {
        Entity::ALL.iter().copied().find(|e| e.as_str() == name)
    }
}

/// The regions of telephone numbers when the configuration names none.
pub const DEFAULT_REGIONS: &[&str] = &["US"];

/// Whether telephone numbers of this region (ISO 3166 alpha-2, upper case) can be recognised.
pub fn known_region(region: &str) -> bool {
    phone_number::Regions::new(&[region.to_owned()]).is_ok()
}

/// A set of entities, ready to be looked for.
#[derive(Debug)]
pub struct Pii {
    entities: Vec<Entity>,
    regions: phone_number::Regions,
}

impl Pii {
    /// Looks for these entities; empty lists mean the defaults. Errors with the region that nobody knows.
    pub fn new(entities: &[Entity], phone_regions: &[String]) -> Result<Self, String> {
        let entities = if entities.is_empty() { DEFAULT_ENTITIES } else { entities };
        let defaults = DEFAULT_REGIONS.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>();
        let regions = if phone_regions.is_empty() { &defaults } else { phone_regions };
        Ok(Self { entities: entities.to_vec(), regions: phone_number::Regions::new(regions)? })
    }

    /// Appends every finding of every entity.
    pub fn scan(&self, text: &Folded<'_>, out: &mut Vec<Finding>) {
        for &entity in &self.entities {
            let mut report = |span: Range<usize>, validated: bool| {
                out.push(Finding { span: text.span(span), label: entity.as_str(), validated });
            };
            self.find(entity, text.text(), text.key(), &mut report);
        }
    }

    fn find(&self, entity: Entity, text: &str, key: &str, report: Report<'_>) {
        match entity {
            Entity::EmailAddress => email_address::find(text, report),
            Entity::PhoneNumber => phone_number::find(text, key, &self.regions, report),
            Entity::CreditCard => credit_card::find(text, report),
            Entity::UsSsn => us_ssn::find(text, key, report),
            Entity::IbanCode => iban_code::find(text, report),
            Entity::Secret => secret::find(text, report),
            Entity::IpAddress => ip_address::find(text, key, report),
            Entity::Url => url::find(text, report),
            Entity::UsItin => us_itin::find(text, key, report),
            Entity::UkNhs => uk_nhs::find(text, key, report),
        }
    }
}

/// Compiles a pattern that is a constant of this crate.
fn pattern(text: &'static str) -> regex::Regex {
    regex::Regex::new(text).expect("a constant pattern, covered by tests")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one entity finds in a text.
    pub(super) fn found(entity: Entity, text: &str) -> Vec<&str> {
        let pii = Pii::new(&[entity], &["US".into(), "GB".into(), "DE".into()]).expect("known regions");
        let mut out = Vec::new();
        pii.scan(&Folded::new(text), &mut out);
        out.into_iter().map(|f| &text[f.span]).collect()
    }

    /// Each positive is found as the part between `«` and `»`; in a negative nothing is found.
    pub(super) fn table(entity: Entity, positives: &[&str], negatives: &[&str]) {
        for marked in positives {
            let expected = marked.split_once('«').and_then(|(_, rest)| rest.split_once('»')).expect("marked").0;
            let text = marked.replace(['«', '»'], "");
            assert_eq!(found(entity, &text), [expected], "{text}");
        }
        for text in negatives {
            assert_eq!(found(entity, text), Vec::<&str>::new(), "{text}");
        }
    }

    #[test]
    fn names_parse_back() {
        for entity in Entity::ALL {
            assert_eq!(Entity::parse(entity.as_str()), Some(*entity));
        }
        assert_eq!(Entity::parse("PERSON"), None);
        assert!(known_region("DE") && !known_region("XX") && !known_region(""));
    }

    #[test]
    fn code_and_prose_are_left_alone_by_the_default_set() {
        let text = "Upgrade tokio 1.54.0 to 1.55.1 (sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08), \
            commit 4a5b6c7d8e, UUID 0192f3a4-7c1e-7b2a-9d3e-4455667788aa, order 100234567890, invoice INV-2026-000123, \
            ticket #20261123, let x: [u8; 16] = [0x41, 0x11]; 2026-11-23T19:43:00Z, port 8080, 3.14159265358979, \
            ISBN 978-3-16-148410-0, $1,234,567.89, 192.168.0.1, a[i] = b@c, @user, user@host, std::mem::swap(&mut a, &mut b)";
        let mut out = Vec::new();
        Pii::new(&[], &["US".into(), "GB".into(), "DE".into()]).expect("known").scan(&Folded::new(text), &mut out);
        assert_eq!(out, []);
    }
}
