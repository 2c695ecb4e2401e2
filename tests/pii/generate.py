"""Writes texts with made-up personal data and texts that only look like it, as JSONL: `{"text", "spans", "entity"}`.

For every entity at least 200 texts hold one value of it, and as many hold none: values with a wrong check digit, of a wrong length, or
of the right form under another label, beside version numbers, hashes, order numbers and code. The texts are sentences, JSON, logs, code,
tables, SQL and XML. What needs a context word to be told from any number always has one; what has a strict form or a check digit
has none in 2 texts of 5. The seed is fixed, so the set is the same everywhere.

    python tests/pii/generate.py > generated.jsonl
"""

import json
import random
import sys
from dataclasses import dataclass
from typing import Callable

import values as v
import values_eu as eu

SEED = 20261130
PER_ENTITY = 240


@dataclass(frozen=True)
class Entity:
    value: Callable
    labels: list
    miss: Callable | None = None  # a value that is none; without it, true values under other labels are the hard negatives
    bare: bool = True  # may stand without a label


ENTITIES = {
    "EMAIL_ADDRESS": Entity(v.email, ["e-mail", "email", "mail address"], v.not_email),
    "PHONE_NUMBER": Entity(v.phone, ["phone", "telephone number", "mobile", "fax"], v.not_phone),
    "CREDIT_CARD": Entity(v.card, ["card number", "credit card", "visa card"], v.not_card),
    "IBAN_CODE": Entity(v.iban, ["IBAN", "account (IBAN)"], v.not_iban),
    "US_SSN": Entity(v.ssn_dashed, ["SSN", "social security number"], v.not_ssn),
    "US_ITIN": Entity(v.itin, ["ITIN", "taxpayer number"], v.not_itin),
    "US_PASSPORT": Entity(v.passport, ["passport number", "passport", "US passport"], bare=False),
    "US_DRIVER_LICENSE": Entity(v.license_, ["driver's license", "driver license number", "DL"], bare=False),
    "US_BANK_NUMBER": Entity(v.account, ["bank account", "account number", "checking account"], bare=False),
    "UK_NHS": Entity(v.nhs, ["NHS number", "NHS no."], eu.near_miss(v.nhs)),
    "UK_NINO": Entity(v.nino, ["NINO", "national insurance number", "NI number"], v.not_nino),
    "SECRET": Entity(v.secret, ["token", "api key", "secret"], v.not_secret),
    "IP_ADDRESS": Entity(v.ip, ["IP", "address", "client ip"], v.not_ip),
    "MAC_ADDRESS": Entity(v.mac, ["MAC", "hardware address"], v.not_mac),
    "URL": Entity(v.url, ["URL", "link", "website"], v.not_url),
    "CRYPTO": Entity(v.crypto, ["wallet", "bitcoin address", "wallet address"], v.not_crypto),
    "DATE_OF_BIRTH": Entity(v.born, ["date of birth", "DOB", "birthday"], bare=False),
    "EU_VAT": Entity(eu.vat, ["VAT number", "VAT", "partita IVA / VAT"], eu.not_vat, bare=False),
    "ES_NIF": Entity(eu.nif, ["NIF", "DNI"], eu.near_miss(eu.nif)),
    "ES_NIE": Entity(eu.nie, ["NIE", "número de extranjero"], eu.near_miss(eu.nie)),
    "IT_FISCAL_CODE": Entity(eu.fiscal_code, ["codice fiscale", "fiscal code"], eu.near_miss(eu.fiscal_code)),
    "PL_PESEL": Entity(eu.pesel, ["PESEL"], eu.near_miss(eu.pesel)),
    "DE_TAX_ID": Entity(eu.tax_id, ["Steuer-ID", "tax id (IdNr)", "Steueridentifikationsnummer"], eu.near_miss(eu.tax_id)),
    "FR_NIR": Entity(eu.nir, ["NIR", "numéro de sécurité sociale"], eu.near_miss(eu.nir)),
    "NL_BSN": Entity(eu.bsn, ["BSN", "burgerservicenummer"], bare=False),
    "BE_NATIONAL_NUMBER": Entity(eu.belgian, ["rijksregisternummer", "national number"], eu.near_miss(eu.belgian)),
    "SE_PERSONNUMMER": Entity(eu.swedish, ["personnummer", "Swedish personnummer"], eu.near_miss(eu.swedish)),
    "FI_PERSONAL_IDENTITY_CODE": Entity(eu.finnish, ["henkilötunnus", "hetu"], eu.near_miss(eu.finnish)),
    "DK_CPR": Entity(eu.danish, ["CPR", "CPR number"], eu.not_danish, bare=False),
    "NO_FODSELSNUMMER": Entity(eu.norwegian, ["fødselsnummer", "fnr"], eu.near_miss(eu.norwegian)),
    "PT_NIF": Entity(eu.portuguese, ["NIF", "contribuinte n.º"], bare=False),
    "RO_CNP": Entity(eu.romanian, ["CNP"], eu.near_miss(eu.romanian)),
    "AT_SVNR": Entity(eu.austrian, ["SVNR", "Sozialversicherungsnummer"], eu.near_miss(eu.austrian)),
    "IE_PPS": Entity(eu.irish, ["PPS number", "PPSN"], eu.near_miss(eu.irish)),
    "BG_EGN": Entity(eu.bulgarian, ["ЕГН", "EGN"], eu.near_miss(eu.bulgarian), bare=False),
    "HR_OIB": Entity(eu.croatian, ["OIB"], eu.near_miss(eu.croatian), bare=False),
    "CY_TIC": Entity(eu.cypriot, ["TIC", "ΑΦΤ", "TIN"], eu.near_miss(eu.cypriot)),
    "CZ_RODNE_CISLO": Entity(eu.any_birth_number, ["rodné číslo", "birth number"], eu.near_miss(eu.birth_number), bare=False),
    "SK_RODNE_CISLO": Entity(eu.birth_number, ["rodné číslo", "rodné číslo (RČ)"], eu.near_miss(eu.birth_number)),
    "EE_ISIKUKOOD": Entity(eu.baltic, ["isikukood", "Estonian ID code"], eu.near_miss(eu.baltic), bare=False),
    "LT_ASMENS_KODAS": Entity(eu.baltic, ["asmens kodas", "Lithuanian personal code"], eu.near_miss(eu.baltic), bare=False),
    "LV_PERSONAS_KODS": Entity(eu.latvian, ["personas kods", "Latvian personal code"], eu.near_miss(eu.latvian)),
    "GR_AMKA": Entity(eu.greek_amka, ["AMKA", "ΑΜΚΑ"], eu.near_miss(eu.greek_amka)),
    "GR_AFM": Entity(eu.greek_afm, ["ΑΦΜ", "AFM"], eu.near_miss(eu.greek_afm), bare=False),
    "HU_TAX_ID": Entity(eu.hungarian_tax, ["adóazonosító jel", "adóazonosítója"], eu.near_miss(eu.hungarian_tax), bare=False),
    "HU_TAJ": Entity(eu.taj, ["TAJ szám", "TAJ", "TAJ number"], eu.near_miss(eu.taj), bare=False),
    "LU_MATRICULE": Entity(eu.luxembourgish, ["matricule", "Matrikelnummer"], eu.near_miss(eu.luxembourgish)),
    "MT_ID_CARD": Entity(eu.maltese, ["ID card", "identity card number", "karta tal-identità"], bare=False),
    "SI_EMSO": Entity(eu.slovenian, ["EMŠO"], eu.near_miss(eu.slovenian)),
}

LABELLED = [
    "My {label} is {value}.",
    "Please change my {label} to {value} before Friday, thank you.",
    "He wrote that his {label} was {value}, and then the line went dead.",
    "{label}: {value}",
    "Status: open\n{label}: {value}\nPriority: low",
    "{value} is my {label}, can you check it?",
    '{{"id": 4711, "{key}": "{value}", "active": true}}',
    "2026-11-23T19:43:00Z INFO worker-3 saved {key}={value} in 12 ms",
    'let {key} = "{value}"; // as the form sent it',
    "| {label} | {value} | ok |",
    "INSERT INTO people ({key}) VALUES ('{value}');",
    "<{key}>{value}</{key}>",
    "Dear team,\n\nthe customer's {label} ({value}) is wrong in the old system.\n\nBest",
    "def test_form():\n    assert form({key}='{value}').ok",
]
BARE = [
    "The form says {value} and nothing else.",
    "It came with {value}, as always.",
    "- {value}\n- nothing more",
    '["{value}", null, 3]',
    "2026-11-23T19:43:00Z WARN got {value} from upstream",
    "see {value}; it is what they sent",
    "x = '{value}'",
    "({value})",
]
OTHERS = [
    "Order {value} was shipped on Monday.",
    "ticket {value} is still open",
    "Invoice no. {value}, due in 30 days",
    '{{"order_id": "{value}", "items": 3}}',
    "tracking number: {value}",
    "build {value} failed after 31 s",
    "const sku = '{value}';",
    "part no. {value} | 4 pcs | shelf 12",
    "2026-11-23T19:43:00Z INFO request={value} took 12 ms",
    "serial number {value} on the back of the device",
]
NOISE = [
    "sha256 {hash}",
    "tokio 1.{a}.{b} → 1.{b}.{a}",
    "commit {short}",
    "id {uuid}",
    "let x: [u8; 4] = [0x41, {a}, {b}, 0x0f];",
    "p99 = {a}.{b} ms over {c} requests",
    "ISBN 978-3-16-148410-0",
    "chapter {a}, page {b}",
    "",
    "",
    "",
]


def noise(rng):
    hexes = "0123456789abcdef"
    parts = {"hash": v.letters(rng, 64, hexes), "short": v.letters(rng, 10, hexes), "a": rng.randint(1, 99), "b": rng.randint(1, 99), "c": rng.randint(100, 9999)}
    parts["uuid"] = "-".join(v.letters(rng, count, hexes) for count in (8, 4, 4, 4, 12))
    return rng.choice(NOISE).format(**parts)


def key_of(label):
    return "_".join("".join(c if c.isalnum() else " " for c in label.lower().replace("'s", "s")).split())


def text_of(rng, templates, label, value):
    before, after = rng.choice(templates).format(label=label, key=key_of(label), value="\0").split("\0", 1)
    lead = noise(rng)
    before = f"{lead}\n{before}" if lead else before
    return before + value + after, len(before)


def made(rng, name, entity):
    for i in range(PER_ENTITY):
        value = entity.value(rng)
        bare = entity.bare and i % 5 < 2
        text, start = text_of(rng, BARE if bare else LABELLED, rng.choice(entity.labels), value)
        yield {"text": text, "spans": [{"type": name, "start": start, "end": start + len(value)}], "entity": name}
    for _ in range(PER_ENTITY):
        value = (entity.miss or entity.value)(rng)
        text, _ = text_of(rng, OTHERS + BARE if entity.miss else OTHERS, "", value)
        yield {"text": text, "spans": [], "entity": name}


def main():
    rng = random.Random(SEED)
    for name, entity in ENTITIES.items():
        for line in made(rng, name, entity):
            json.dump(line, sys.stdout, ensure_ascii=False)
            sys.stdout.write("\n")


if __name__ == "__main__":
    main()
