"""Made-up values of every entity, with check digits of this file's own arithmetic, and values that nearly are such.

Nothing here is taken from the recognisers: a mistake in one of the two shows as a miss in the table.
"""

import hashlib
import string

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"


def digits(rng, count, first="0123456789"):
    return rng.choice(first) + "".join(rng.choice("0123456789") for _ in range(count - 1))


def letters(rng, count, alphabet=string.ascii_uppercase):
    return "".join(rng.choice(alphabet) for _ in range(count))


def weighted(number, weights):
    return sum(int(digit) * weight for digit, weight in zip(number, weights))


def until(make):
    """Some checks have no digit for some numbers; then another number is taken."""
    while True:
        value = make()
        if value is not None:
            return value


def other_digit(rng, value, at=-1):
    """The same value with another last digit (or letter): its check digit is wrong."""
    places = [i for i, c in enumerate(value) if c.isalnum()]
    i = places[at]
    pool = string.digits if value[i].isdigit() else string.ascii_uppercase if value[i].isupper() else string.ascii_lowercase
    return value[:i] + rng.choice([c for c in pool if c != value[i]]) + value[i + 1 :]


def grouped(value, sizes, separator):
    parts, at = [], 0
    for size in sizes:
        parts.append(value[at : at + size])
        at += size
    return separator.join(part for part in parts if part)


def date(rng, first=1930, last=2012):
    return rng.randint(first, last), rng.randint(1, 12), rng.randint(1, 28)


# --- world-wide -------------------------------------------------------------------------------------------------------


def email(rng):
    names = ["jane", "r.miller", "otto+news", "anne_marie", "k.o", "sales", "j.doe42", "x", "müller", "info"]
    domains = ["example.com", "mail.example.co.uk", "example.org", "firma-beispiel.de", "uni.example.edu", "example.io"]
    return f"{rng.choice(names)}{rng.choice(['', '', str(rng.randint(1, 999))])}@{rng.choice(domains)}"


def not_email(rng):
    return rng.choice([
        f"react@{rng.randint(1, 20)}.{rng.randint(0, 9)}.{rng.randint(0, 9)}", "@types/node", f"user{rng.randint(1, 99)}@localhost",
        "icon@2x.png", "git@github.com:owner/name.git", f"@Component{rng.randint(1, 9)}", "a @ b", f"{digits(rng, 3)}@",
        f"sha256@{letters(rng, 12, 'abcdef0123456789')}", "price @ 3.50", "logo@3x.webp", "@example.com",
    ])


def luhn_digit(number):
    total = 0
    for i, c in enumerate(reversed(number)):
        digit = int(c) * (2 if i % 2 == 0 else 1)
        total += digit - 9 if digit > 9 else digit
    return str((10 - total % 10) % 10)


def card(rng):
    prefix, length = rng.choice([("4", 16), ("4", 16), ("51", 16), ("55", 16), ("2221", 16), ("34", 15), ("37", 15), ("6011", 16), ("65", 16), ("3530", 16), ("36", 14), ("305", 14), ("4", 13), ("4", 19)])
    number = prefix + "".join(rng.choice("0123456789") for _ in range(length - len(prefix) - 1))
    number += luhn_digit(number)
    separator = rng.choice(["", "", " ", "-"])
    if not separator or length not in (15, 16):
        return number
    return grouped(number, [4, 6, 5] if length == 15 else [4, 4, 4, 4], separator)


def not_card(rng):
    return rng.choice([lambda: other_digit(rng, card(rng)), lambda: "9" + digits(rng, 15), lambda: digits(rng, 21), lambda: str(rng.randint(1_600_000_000_000_000, 1_799_999_999_999_999)) + "00"])()


def iban(rng):
    country, length, bank = rng.choice([("DE", 22, 0), ("GB", 22, 4), ("FR", 27, 0), ("NL", 18, 4), ("ES", 24, 0), ("IT", 27, 1), ("AT", 20, 0), ("CH", 21, 0), ("BE", 16, 0), ("PL", 28, 0), ("NO", 15, 0), ("IE", 22, 4)])
    body = letters(rng, bank) + "".join(rng.choice("0123456789") for _ in range(length - 4 - bank))
    number = int("".join(str(int(c, 36)) for c in body + country + "00"))
    value = f"{country}{98 - number % 97:02d}{body}"
    return grouped(value, [4] * 9, rng.choice(["", "", " "]))


def not_iban(rng):
    return rng.choice([lambda: other_digit(rng, iban(rng)), lambda: iban(rng).replace(" ", "")[:-1], lambda: "SKU" + digits(rng, 18), lambda: "ZZ" + digits(rng, 20)])()


def ip(rng):
    if rng.random() < 0.7:
        return ".".join(str(rng.randint(1, 254)) for _ in range(4))
    parts = [f"{rng.randint(0, 65535):x}" for _ in range(8)]
    return rng.choice([":".join(parts), f"2001:db8::{parts[0]}:{parts[1]}:{parts[2]}", f"fe80::{parts[3]}:{parts[4]}"])


def not_ip(rng):
    return rng.choice([
        f"version {rng.randint(1, 9)}.{rng.randint(0, 99)}.{rng.randint(0, 9)}.{rng.randint(0, 9)}", f"{rng.randint(300, 999)}.1.2.3",
        f"{rng.randint(1, 9)}.{rng.randint(0, 9)}.{rng.randint(0, 9)}", "std::mem::swap", f"{rng.randint(10, 23)}:{rng.randint(10, 59)}:{rng.randint(10, 59)}",
        f"1.2.3.4.{rng.randint(1, 9)}", f"v{rng.randint(1, 9)}.{rng.randint(0, 9)}.{rng.randint(0, 9)}.{rng.randint(0, 9)}", "a::b", f"{rng.randint(1, 28):02d}.11.2026",
    ])


def mac(rng):
    octets = [letters(rng, 2, "0123456789abcdef") for _ in range(6)]
    octets[0] = "02"
    value = rng.choice([":".join(octets), "-".join(octets), ".".join(a + b for a, b in zip(octets[::2], octets[1::2]))])
    return rng.choice([value, value.upper()])


def not_mac(rng):
    return rng.choice([":".join(letters(rng, 2, "0123456789abcdef") for _ in range(rng.choice([4, 5, 7, 8]))), "00:00:00:00:00:00", letters(rng, 12, "0123456789abcdef"), "ff:ff:ff:ff:ff:ff", f"12:30:{rng.randint(10, 59)}"])


def url(rng):
    return rng.choice([f"https://example.{rng.choice(['com', 'org', 'de', 'co.uk'])}/{letters(rng, 5, string.ascii_lowercase)}", f"http://www.{letters(rng, 6, string.ascii_lowercase)}.com", f"https://api.example.io/v1/items?id={rng.randint(1, 999)}", f"ftp://files.example.org/{letters(rng, 4, string.ascii_lowercase)}.zip"])


def not_url(rng):
    return rng.choice(["std::path::Path", "/usr/local/bin", "a.b.c()", "foo.bar.baz = 1", "http:", "C:\\Users\\x", "node:fs/promises", "object.method.call()", "README.md", "main.py", "crate::config::model"])


def crypto(rng):
    kind = rng.choice(["p2pkh", "p2sh", "bech32", "eth", "eth"])
    if kind in ("p2pkh", "p2sh"):
        payload = bytes([0 if kind == "p2pkh" else 5]) + rng.randbytes(20)
        payload += hashlib.sha256(hashlib.sha256(payload).digest()).digest()[:4]
        number, text = int.from_bytes(payload, "big"), ""
        while number:
            number, digit = divmod(number, 58)
            text = BASE58[digit] + text
        return "1" * (len(payload) - len(payload.lstrip(b"\0"))) + text
    if kind == "bech32":
        return bech32("bc", rng.randbytes(20))
    return "0x" + letters(rng, 40, "0123456789abcdef")


def bech32(prefix, program):
    bits = "".join(f"{byte:08b}" for byte in program)
    data = [0] + [int(bits[i : i + 5], 2) for i in range(0, len(bits), 5)]

    def polymod(values):
        check = 1
        for value in values:
            top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ value
            for i, generator in enumerate([0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3]):
                check ^= generator if top >> i & 1 else 0
        return check

    expanded = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    check = polymod(expanded + data + [0] * 6) ^ 1
    data += [check >> 5 * (5 - i) & 31 for i in range(6)]
    return prefix + "1" + "".join(BECH32[value] for value in data)


def not_crypto(rng):
    return rng.choice([letters(rng, 40, "0123456789abcdef"), "0x" + letters(rng, 64, "0123456789abcdef"), "1" + letters(rng, 33, BASE58), "bc1q" + letters(rng, 38, BECH32), "0x" + letters(rng, 8, "0123456789abcdef"), letters(rng, 64, "0123456789abcdef")])


def secret(rng):
    word = string.ascii_letters + string.digits
    mixed = lambda count: "aB3" + letters(rng, count - 3, word)  # noqa: E731
    return rng.choice([
        lambda: "AKIA" + letters(rng, 16, string.ascii_uppercase + "234567"), lambda: "ghp_" + mixed(36), lambda: "github_pat_" + mixed(40),
        lambda: "glpat-" + mixed(20), lambda: "xoxb-" + digits(rng, 12) + "-" + mixed(24), lambda: "sk_live_" + mixed(24), lambda: "AIza" + mixed(35),
        lambda: "sk-proj-" + mixed(40), lambda: "sk-ant-api03-" + mixed(60), lambda: "hf_" + mixed(34), lambda: "npm_" + mixed(36),
        lambda: "SG." + mixed(22) + "." + mixed(43), lambda: "eyJ" + mixed(20) + ".eyJ" + mixed(30) + "." + mixed(43), lambda: "hvs." + mixed(40),
        lambda: "gsk_" + mixed(52), lambda: "dop_v1_" + letters(rng, 64, "0123456789abcdef"), lambda: "xai-" + mixed(80),
    ])()


def not_secret(rng):
    return rng.choice([
        lambda: letters(rng, 40, "0123456789abcdef"), lambda: letters(rng, 64, "0123456789abcdef"), lambda: f"sk-estimator-{letters(rng, 12, string.ascii_lowercase)}",
        lambda: "${API_KEY}", lambda: "<your-token-here>", lambda: "process.env.STRIPE_KEY", lambda: "ghp_xxx", lambda: "AKIA...",
        lambda: f"{letters(rng, 8, '0123456789abcdef')}-{letters(rng, 4, '0123456789abcdef')}-7{letters(rng, 3, '0123456789abcdef')}-9{letters(rng, 3, '0123456789abcdef')}-{letters(rng, 12, '0123456789abcdef')}",
        lambda: "task-" + letters(rng, 24, string.ascii_lowercase), lambda: "self.token_count_of_request", lambda: "hf_transfer", lambda: "npm_config_cache",
    ])()


def born(rng):
    year, month, day = date(rng)
    name = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"][month - 1]
    return rng.choice([f"{month}/{day}/{year}", f"{day:02d}.{month:02d}.{year}", f"{year}-{month:02d}-{day:02d}", f"{name} {day}, {year}", f"{day} {name} {year}", f"{day:02d}/{month:02d}/{year % 100:02d}", f"{day} {name[:3]} {year}"])


# --- United States and United Kingdom -----------------------------------------------------------------------------------


def phone(rng):
    area, exchange = rng.choice(["212", "415", "617", "312", "206", "404"]), rng.choice(["555", "867", "234", "661"])
    line = f"{rng.randint(0, 9999):04d}"
    return rng.choice([
        f"({area}) {exchange}-{line}", f"{area}-{exchange}-{line}", f"{area}.{exchange}.{line}", f"+1 {area} {exchange} {line}", f"+1{area}{exchange}{line}",
        f"1-800-{exchange}-{line}", f"+44 20 7946 {line}", f"020 7946 {line}", f"+44 7700 900{line[:3]}", f"+49 30 9018{line[:2]}0", f"030 9018{line[:2]}0",
        f"+33 1 42 68 {line[:2]} {line[2:]}", f"{area} {exchange} {line}", f"+34 912 34 {line[:2]} {line[2:]}", f"0049 30 9018{line[:2]}0",
    ])


def not_phone(rng):
    return rng.choice([
        digits(rng, 10), f"{rng.randint(1, 9)}.{rng.randint(0, 99)}.{rng.randint(0, 9999)}", f"INV-{digits(rng, 3)}-{digits(rng, 3)}-{digits(rng, 4)}", f"2026-11-{rng.randint(10, 28)}",
        digits(rng, 13, "1"), f"{digits(rng, 8)}-{digits(rng, 4)}-{digits(rng, 4)}", f"978-3-16-{digits(rng, 6)}-{digits(rng, 1)}", f"{rng.randint(1, 9)}.{digits(rng, 14)}",
        f"112-{digits(rng, 3)}-{digits(rng, 4)}", f"#{digits(rng, 10)}", f"{rng.randint(10, 99)},{digits(rng, 3)},{digits(rng, 3)}", f"{rng.randint(10, 28)}.11.2026",
    ])


def ssn(rng):
    value = f"{rng.choice([rng.randint(1, 665), rng.randint(667, 899)]):03d}{rng.randint(1, 99):02d}{rng.randint(1, 9999):04d}"
    return value


def ssn_dashed(rng):
    return grouped(ssn(rng), [3, 2, 4], "-")


def not_ssn(rng):
    return rng.choice([f"000-{digits(rng, 2)}-{digits(rng, 4)}", f"666-{digits(rng, 2)}-{digits(rng, 4)}", f"{digits(rng, 3)}-00-{digits(rng, 4)}", f"{digits(rng, 3, '12345')}-{digits(rng, 2)}-0000", f"PO-{ssn_dashed(rng)}", f"{digits(rng, 3)}-{digits(rng, 4)}", f"{ssn_dashed(rng)}-1", digits(rng, 9)])


def itin(rng):
    return f"9{digits(rng, 2)}-{rng.choice([50, 65, 70, 78, 88, 90, 92, 94, 99])}-{digits(rng, 4)}"


def not_itin(rng):
    return rng.choice([f"9{digits(rng, 2)}-{rng.choice([10, 49, 66, 69, 89, 93])}-{digits(rng, 4)}", f"A-{itin(rng)}", f"{itin(rng)}5", digits(rng, 9, "9")])


def passport(rng):
    return rng.choice([digits(rng, 9), letters(rng, 1) + digits(rng, 8)])


def license_(rng):
    return rng.choice([lambda: letters(rng, 1) + digits(rng, 7), lambda: letters(rng, 1) + digits(rng, 8), lambda: digits(rng, 8), lambda: digits(rng, 9), lambda: letters(rng, 2) + digits(rng, 6), lambda: letters(rng, 1) + digits(rng, 12)])()


def account(rng):
    return digits(rng, rng.choice([8, 9, 10, 11, 12, 13, 17]))


def nhs(rng):
    def make():
        number = digits(rng, 9, "4679")
        check = (11 - weighted(number, range(10, 1, -1)) % 11) % 11
        return None if check == 10 else number + str(check)

    return grouped(until(make), [3, 3, 4], rng.choice([" ", "-"]))


def nino(rng):
    def make():
        prefix = letters(rng, 1, "ABCEGHJKLMNOPRSTWXYZ") + letters(rng, 1, "ABCEGHJKLMNPRSTWXYZ")
        return None if prefix in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ") else prefix

    value = until(make) + digits(rng, 6) + letters(rng, 1, "ABCD")
    return rng.choice([value, grouped(value, [2, 2, 2, 2, 1], " ")])


def not_nino(rng):
    return rng.choice([f"{letters(rng, 1, 'DFIQUV')}{letters(rng, 1)}{digits(rng, 6)}A", f"GB{digits(rng, 6)}A", f"{letters(rng, 2)}{digits(rng, 6)}{letters(rng, 1, 'EFGHXYZ')}", f"{letters(rng, 2)}{digits(rng, 7)}C", f"{letters(rng, 3)}{digits(rng, 6)}C"])
