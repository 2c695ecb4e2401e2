//! The entities, one small recogniser per file, and the one place that tells them apart.
//!
//! Where a format has a checksum or strict rules, they are applied; where it has neither, a bare number counts only beside a
//! context word. Every recogniser is linear in the text.

mod at_svnr;
mod be_national_number;
mod bg_egn;
mod checksum;
mod context;
mod credit_card;
mod crypto;
mod cy_tic;
mod cz_rodne_cislo;
mod date_of_birth;
mod de_tax_id;
mod digit_automaton;
mod digits;
mod dk_cpr;
mod ee_isikukood;
mod email_address;
mod es_nie;
mod es_nif;
mod eu_vat;
mod fi_personal_identity_code;
mod fr_nir;
mod gr_afm;
mod gr_amka;
mod hr_oib;
mod hu_taj;
mod hu_tax_id;
mod iban_code;
mod ie_pps;
mod ip_address;
mod it_fiscal_code;
mod lt_asmens_kodas;
mod lu_matricule;
mod lv_personas_kods;
mod mac_address;
mod mt_id_card;
mod nl_bsn;
mod no_fodselsnummer;
mod phone_number;
mod phone_plans;
mod pl_pesel;
mod pt_nif;
mod ro_cnp;
pub(crate) mod score;
mod se_personnummer;
mod secret;
mod si_emso;
mod text;
mod tokens;
mod uk_nhs;
mod uk_nino;
mod url;
mod us_bank_number;
mod us_driver_license;
mod us_itin;
mod us_passport;
mod us_ssn;
mod vat_checks;

pub(crate) use phone_plans::Regions;
pub(crate) use secret::open_block;
pub(crate) use text::Text;

use std::ops::Range;

/// What a recogniser reports: where, and how sure it is.
pub(crate) type Report<'a> = &'a mut dyn FnMut(Range<usize>, f32);

macro_rules! entities {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $module:ident;)*) => {
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

            /// Lower-case words that speak for it where they stand near.
            fn context(self) -> &'static [&'static str] {
                match self { $(Entity::$variant => $module::CONTEXT,)* }
            }
        }
    };
}

entities! {
    /// Mail addresses.
    EmailAddress = "EMAIL_ADDRESS", email_address;
    /// Telephone numbers of the configured regions, and of any region in international form or beside a label.
    PhoneNumber = "PHONE_NUMBER", phone_number;
    /// Payment card numbers.
    CreditCard = "CREDIT_CARD", credit_card;
    /// US social security numbers.
    UsSsn = "US_SSN", us_ssn;
    /// International bank account numbers.
    IbanCode = "IBAN_CODE", iban_code;
    /// Cloud keys, tokens with known prefixes, JSON web tokens, private keys, passwords in URLs.
    Secret = "SECRET", secret;
    /// IPv4 and IPv6 addresses.
    IpAddress = "IP_ADDRESS", ip_address;
    /// Hardware addresses of network interfaces.
    MacAddress = "MAC_ADDRESS", mac_address;
    /// Web addresses.
    Url = "URL", url;
    /// Addresses of Bitcoin, its kin, and Ethereum.
    Crypto = "CRYPTO", crypto;
    /// Dates of birth.
    DateOfBirth = "DATE_OF_BIRTH", date_of_birth;
    /// US individual taxpayer identification numbers.
    UsItin = "US_ITIN", us_itin;
    /// US passport numbers.
    UsPassport = "US_PASSPORT", us_passport;
    /// US driver licence numbers.
    UsDriverLicense = "US_DRIVER_LICENSE", us_driver_license;
    /// US bank account numbers.
    UsBankNumber = "US_BANK_NUMBER", us_bank_number;
    /// UK National Health Service numbers.
    UkNhs = "UK_NHS", uk_nhs;
    /// UK national insurance numbers.
    UkNino = "UK_NINO", uk_nino;
    /// Value-added tax numbers of the European Union's members.
    EuVat = "EU_VAT", eu_vat;
    /// Spanish tax numbers of citizens.
    EsNif = "ES_NIF", es_nif;
    /// Spanish numbers of foreigners.
    EsNie = "ES_NIE", es_nie;
    /// Italian fiscal codes.
    ItFiscalCode = "IT_FISCAL_CODE", it_fiscal_code;
    /// Polish personal numbers.
    PlPesel = "PL_PESEL", pl_pesel;
    /// German tax identification numbers.
    DeTaxId = "DE_TAX_ID", de_tax_id;
    /// French social security numbers.
    FrNir = "FR_NIR", fr_nir;
    /// Dutch citizen service numbers.
    NlBsn = "NL_BSN", nl_bsn;
    /// Belgian national register numbers.
    BeNationalNumber = "BE_NATIONAL_NUMBER", be_national_number;
    /// Swedish personal numbers.
    SePersonnummer = "SE_PERSONNUMMER", se_personnummer;
    /// Finnish personal identity codes.
    FiPersonalIdentityCode = "FI_PERSONAL_IDENTITY_CODE", fi_personal_identity_code;
    /// Danish personal numbers.
    DkCpr = "DK_CPR", dk_cpr;
    /// Norwegian birth numbers.
    NoFodselsnummer = "NO_FODSELSNUMMER", no_fodselsnummer;
    /// Portuguese tax numbers.
    PtNif = "PT_NIF", pt_nif;
    /// Romanian personal codes.
    RoCnp = "RO_CNP", ro_cnp;
    /// Austrian social security numbers.
    AtSvnr = "AT_SVNR", at_svnr;
    /// Irish personal public service numbers.
    IePps = "IE_PPS", ie_pps;
    /// Bulgarian personal numbers.
    BgEgn = "BG_EGN", bg_egn;
    /// Croatian personal identification numbers.
    HrOib = "HR_OIB", hr_oib;
    /// Cypriot tax identification codes.
    CyTic = "CY_TIC", cy_tic;
    /// Czech birth numbers.
    CzRodneCislo = "CZ_RODNE_CISLO", cz_rodne_cislo;
    /// Slovak birth numbers, which look as the Czech ones do.
    SkRodneCislo = "SK_RODNE_CISLO", cz_rodne_cislo;
    /// Estonian personal identification codes.
    EeIsikukood = "EE_ISIKUKOOD", ee_isikukood;
    /// Lithuanian personal codes, which look as the Estonian ones do.
    LtAsmensKodas = "LT_ASMENS_KODAS", lt_asmens_kodas;
    /// Latvian personal codes.
    LvPersonasKods = "LV_PERSONAS_KODS", lv_personas_kods;
    /// Greek social security numbers.
    GrAmka = "GR_AMKA", gr_amka;
    /// Greek tax numbers.
    GrAfm = "GR_AFM", gr_afm;
    /// Hungarian tax identification numbers of persons.
    HuTaxId = "HU_TAX_ID", hu_tax_id;
    /// Hungarian social security numbers.
    HuTaj = "HU_TAJ", hu_taj;
    /// Luxembourg's national identification numbers.
    LuMatricule = "LU_MATRICULE", lu_matricule;
    /// Numbers of Maltese identity cards.
    MtIdCard = "MT_ID_CARD", mt_id_card;
    /// Slovenian personal numbers.
    SiEmso = "SI_EMSO", si_emso;
}

/// What is looked for when the configuration names no entities. Never URLs, IP addresses or dates, which wreck code.
pub const DEFAULT_ENTITIES: &[Entity] =
    &[Entity::EmailAddress, Entity::PhoneNumber, Entity::CreditCard, Entity::IbanCode, Entity::UsSsn, Entity::Secret];

impl Entity {
    /// The entity of that name.
    pub fn parse(name: &str) -> Option<Entity> {
        Entity::ALL.iter().copied().find(|e| e.as_str() == name)
    }

    /// Its bit among the topics of context words.
    fn topic(self) -> u64 {
        1 << (self as u32)
    }
}

/// The regions of telephone numbers when the configuration names none.
pub const DEFAULT_REGIONS: &[&str] = &["US"];

/// Whether telephone numbers of this region (ISO 3166 alpha-2, upper case) can be recognised.
pub fn known_region(region: &str) -> bool {
    Regions::new(&[region.to_owned()]).is_ok()
}

/// Reports what of this entity is in the text.
pub(crate) fn find(entity: Entity, text: &Text<'_>, regions: &Regions, report: Report<'_>) {
    match entity {
        Entity::EmailAddress => email_address::find(text, report),
        Entity::PhoneNumber => phone_number::find(text, regions, report),
        Entity::CreditCard => credit_card::find(text, report),
        Entity::UsSsn => us_ssn::find(text, report),
        Entity::IbanCode => iban_code::find(text, report),
        Entity::Secret => secret::find(text, report),
        Entity::IpAddress => ip_address::find(text, report),
        Entity::MacAddress => mac_address::find(text, report),
        Entity::Url => url::find(text, report),
        Entity::Crypto => crypto::find(text, report),
        Entity::DateOfBirth => date_of_birth::find(text, report),
        Entity::UsItin => us_itin::find(text, report),
        Entity::UsPassport => us_passport::find(text, report),
        Entity::UsDriverLicense => us_driver_license::find(text, report),
        Entity::UsBankNumber => us_bank_number::find(text, report),
        Entity::UkNhs => uk_nhs::find(text, report),
        Entity::UkNino => uk_nino::find(text, report),
        Entity::EuVat => eu_vat::find(text, report),
        Entity::EsNif => es_nif::find(text, report),
        Entity::EsNie => es_nie::find(text, report),
        Entity::ItFiscalCode => it_fiscal_code::find(text, report),
        Entity::PlPesel => pl_pesel::find(text, report),
        Entity::DeTaxId => de_tax_id::find(text, report),
        Entity::FrNir => fr_nir::find(text, report),
        Entity::NlBsn => nl_bsn::find(text, report),
        Entity::BeNationalNumber => be_national_number::find(text, report),
        Entity::SePersonnummer => se_personnummer::find(text, report),
        Entity::FiPersonalIdentityCode => fi_personal_identity_code::find(text, report),
        Entity::DkCpr => dk_cpr::find(text, report),
        Entity::NoFodselsnummer => no_fodselsnummer::find(text, report),
        Entity::PtNif => pt_nif::find(text, report),
        Entity::RoCnp => ro_cnp::find(text, report),
        Entity::AtSvnr => at_svnr::find(text, report),
        Entity::IePps => ie_pps::find(text, report),
        Entity::BgEgn => bg_egn::find(text, report),
        Entity::HrOib => hr_oib::find(text, report),
        Entity::CyTic => cy_tic::find(text, report),
        Entity::CzRodneCislo | Entity::SkRodneCislo => cz_rodne_cislo::find(text, entity, report),
        Entity::EeIsikukood => ee_isikukood::find(text, report),
        Entity::LtAsmensKodas => lt_asmens_kodas::find(text, report),
        Entity::LvPersonasKods => lv_personas_kods::find(text, report),
        Entity::GrAmka => gr_amka::find(text, report),
        Entity::GrAfm => gr_afm::find(text, report),
        Entity::HuTaxId => hu_tax_id::find(text, report),
        Entity::HuTaj => hu_taj::find(text, report),
        Entity::LuMatricule => lu_matricule::find(text, report),
        Entity::MtIdCard => mt_id_card::find(text, report),
        Entity::SiEmso => si_emso::find(text, report),
    }
}

/// Compiles a pattern that is a constant of this crate.
fn pattern(text: &'static str) -> regex::Regex {
    regex::Regex::new(text).expect("a constant pattern, covered by tests")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Pii;
    use crate::fold::Folded;

    /// What one entity finds in a text.
    pub(crate) fn found(entity: Entity, text: &str) -> Vec<&str> {
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
        // topics above belong to no entity
        assert!(Entity::ALL.len() <= 60);
    }
}
