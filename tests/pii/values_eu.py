"""The same for the numbers that European countries give to people and companies."""

from values import date, digits, grouped, letters, luhn_digit, other_digit, until, weighted

NIF_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"


def near_miss(make):
    """A value with a wrong check digit."""
    return lambda rng: other_digit(rng, make(rng))


def nif(rng):
    number = digits(rng, 8)
    return number + rng.choice(["", "", "-"]) + NIF_LETTERS[int(number) % 23]


def nie(rng):
    first, number = rng.choice("XYZ"), digits(rng, 7)
    return first + number + NIF_LETTERS[int(str("XYZ".index(first)) + number) % 23]


def fiscal_code(rng):
    year, month, day = date(rng)
    code = letters(rng, 3, "BCDFGLMNPRSTV") + letters(rng, 3, "BCDFGLMNPRSTV") + f"{year % 100:02d}" + "ABCDEHLMPRST"[month - 1]
    code += f"{day + rng.choice([0, 40]):02d}" + letters(rng, 1, "ABCDEFGHIL") + digits(rng, 3)
    odd = {c: v for c, v in zip("0123456789", [1, 0, 5, 7, 9, 13, 15, 17, 19, 21])}
    odd |= dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23]))
    total = sum(odd[c] if i % 2 == 0 else int(c) if c.isdigit() else ord(c) - 65 for i, c in enumerate(code))
    return code + chr(65 + total % 26)


def pesel(rng):
    year, month, day = date(rng)
    number = f"{year % 100:02d}{month + (20 if year >= 2000 else 0):02d}{day:02d}" + digits(rng, 4)
    return number + str((10 - weighted(number, [1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10) % 10)


def mod_11_10(number):
    product = 10
    for digit in number:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return str((11 - product) % 10)


def tax_id(rng):
    def make():
        pool = list("0123456789")
        rng.shuffle(pool)
        pool[9] = pool[rng.randint(0, 8)]
        rng.shuffle(pool)
        # the same digit three times in a row is not given out
        return None if pool[0] == "0" else "".join(pool)

    number = until(make)
    number += mod_11_10(number)
    return rng.choice([number, number, grouped(number, [2, 3, 3, 3], " ")])


def nir(rng):
    year, month, _ = date(rng)
    number = rng.choice("12") + f"{year % 100:02d}{month:02d}" + f"{rng.randint(1, 95):02d}" + f"{rng.randint(1, 990):03d}{rng.randint(1, 999):03d}"
    number += f"{97 - int(number) % 97:02d}"
    return rng.choice([number, grouped(number, [1, 2, 2, 2, 3, 3, 2], " ")])


def bsn(rng):
    def make():
        number = digits(rng, 8, "12345678")
        check = weighted(number, range(9, 1, -1)) % 11
        return None if check == 10 else number + str(check)

    return until(make)


def belgian(rng):
    year, month, day = date(rng)
    number = f"{year % 100:02d}{month:02d}{day:02d}{rng.randint(1, 997):03d}"
    number += f"{97 - int(('2' if year >= 2000 else '') + number) % 97:02d}"
    return rng.choice([number, f"{number[:2]}.{number[2:4]}.{number[4:6]}-{number[6:9]}.{number[9:]}"])


def swedish(rng):
    year, month, day = date(rng)
    number = f"{year % 100:02d}{month:02d}{day:02d}{digits(rng, 3)}"
    number += luhn_digit(number)
    return rng.choice(["", str(year // 100)]) + number[:6] + "-" + number[6:]


def finnish(rng):
    year, month, day = date(rng)
    first, last = f"{day:02d}{month:02d}{year % 100:02d}", f"{rng.randint(2, 899):03d}"
    return first + ("A" if year >= 2000 else "-") + last + "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(first + last) % 31]


def danish(rng):
    year, month, day = date(rng)
    return f"{day:02d}{month:02d}{year % 100:02d}-{digits(rng, 4)}"


def not_danish(rng):
    return rng.choice([f"{rng.randint(32, 99)}{digits(rng, 4)}-{digits(rng, 4)}", f"{digits(rng, 6)}-{digits(rng, 3)}", f"{digits(rng, 5)}-{digits(rng, 5)}"])


def norwegian(rng):
    def make():
        year, month, day = date(rng)
        number = f"{day:02d}{month:02d}{year % 100:02d}{digits(rng, 3)}"
        first = (11 - weighted(number, [3, 7, 6, 1, 8, 9, 4, 5, 2]) % 11) % 11
        second = (11 - weighted(number + str(first), [5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11) % 11 if first < 10 else 10
        return None if 10 in (first, second) else f"{number}{first}{second}"

    return until(make)


def portuguese(rng):
    number = digits(rng, 8, "125")
    check = 11 - weighted(number, range(9, 1, -1)) % 11
    return number + str(0 if check > 9 else check)


def romanian(rng):
    year, month, day = date(rng)
    number = rng.choice("56" if year >= 2000 else "12") + f"{year % 100:02d}{month:02d}{day:02d}{rng.randint(1, 46):02d}{rng.randint(1, 999):03d}"
    check = weighted(number, [2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11
    return number + str(1 if check == 10 else check)


def austrian(rng):
    def make():
        year, month, day = date(rng)
        serial, born = f"{rng.randint(100, 999)}", f"{day:02d}{month:02d}{year % 100:02d}"
        check = (weighted(serial, [3, 7, 9]) + weighted(born, [5, 8, 4, 2, 1, 6])) % 11
        return None if check == 10 else f"{serial}{check} {born}"

    return until(make)


def irish(rng):
    number, second = digits(rng, 7), rng.choice(["", "A", "B"])
    total = weighted(number, range(8, 1, -1)) + (9 * (ord(second) - 64) if second else 0)
    return number + "WABCDEFGHIJKLMNOPQRSTUV"[total % 23] + second


def bulgarian(rng):
    year, month, day = date(rng)
    number = f"{year % 100:02d}{month + (40 if year >= 2000 else 0):02d}{day:02d}{digits(rng, 3)}"
    return number + str(weighted(number, [2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10)


def croatian(rng):
    number = digits(rng, 10)
    return number + mod_11_10(number)


def cypriot(rng):
    number = digits(rng, 8, "09")
    odd = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21]
    return number + chr(65 + sum(int(c) if i % 2 else odd[int(c)] for i, c in enumerate(number)) % 26)


def birth_number(rng):
    """Czech and Slovak, with a check digit."""

    def make():
        year, month, day = date(rng, first=1954)
        number = f"{year % 100:02d}{month + rng.choice([0, 50]) + (rng.choice([0, 20]) if year >= 2004 else 0):02d}{day:02d}{digits(rng, 3)}"
        check = int(number) % 11
        return None if check == 10 else f"{number[:6]}/{number[6:]}{check}"

    return until(make)


def any_birth_number(rng):
    """The same as people write it, and those from before there was a check digit."""
    year, month, day = date(rng, last=1953)
    old = f"{year % 100:02d}{month + rng.choice([0, 50]):02d}{day:02d}/{digits(rng, 3)}"
    value = rng.choice([old, birth_number(rng), birth_number(rng)])
    return rng.choice([value, value.replace("/", "")])


def baltic(rng):
    """Estonian and Lithuanian."""
    year, month, day = date(rng)
    number = rng.choice("56" if year >= 2000 else "34") + f"{year % 100:02d}{month:02d}{day:02d}{digits(rng, 3)}"
    check = weighted(number, [1, 2, 3, 4, 5, 6, 7, 8, 9, 1]) % 11
    if check == 10:
        check = weighted(number, [3, 4, 5, 6, 7, 8, 9, 1, 2, 3]) % 11 % 10
    return f"{number}{check}"


def latvian(rng):
    def make():
        year, month, day = date(rng)
        number = f"{day:02d}{month:02d}{year % 100:02d}{2 if year >= 2000 else 1}{digits(rng, 3)}"
        check = (1101 - weighted(number, [1, 6, 3, 7, 9, 10, 5, 8, 4, 2])) % 11
        return None if check == 10 else f"{number[:6]}-{number[6:]}{check}"

    return until(make)


def greek_amka(rng):
    year, month, day = date(rng)
    number = f"{day:02d}{month:02d}{year % 100:02d}{digits(rng, 4)}"
    return number + luhn_digit(number)


def greek_afm(rng):
    number = digits(rng, 8, "1")
    return number + str(sum(int(c) * 2 ** (8 - i) for i, c in enumerate(number)) % 11 % 10)


def hungarian_tax(rng):
    def make():
        number = f"8{rng.randint(20000, 53000)}{digits(rng, 3)}"
        check = weighted(number, range(1, 10)) % 11
        return None if check == 10 else f"{number}{check}"

    return until(make)


def taj(rng):
    number = digits(rng, 8, "01")
    number += str(weighted(number, [3, 7, 3, 7, 3, 7, 3, 7]) % 10)
    return rng.choice([number, grouped(number, [3, 3, 3], " "), grouped(number, [3, 3, 3], "-")])


def verhoeff_digit(number):
    """By its tables: products of symmetries of the pentagon, and what digits become the further left they stand."""
    product = ["0123456789", "1234067895", "2340178956", "3401289567", "4012395678", "5987604321", "6598710432", "7659821043", "8765932104", "9876543210"]
    place = ["0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258"]
    check = 0
    for i, c in enumerate(reversed(number), 1):
        check = int(product[check][int(place[i % 8][int(c)])])
    return str(product[check].index("0"))


def luxembourgish(rng):
    year, month, day = date(rng)
    number = f"{year}{month:02d}{day:02d}{digits(rng, 3)}"
    number += luhn_digit(number) + verhoeff_digit(number)
    return rng.choice([number, number, grouped(number, [8, 5], " ")])


def maltese(rng):
    year = date(rng)[0]
    return f"{rng.randint(1, 9000):05d}{year % 100:02d}" + rng.choice("MG" if year < 2000 else "LH")


def slovenian(rng):
    def make():
        year, month, day = date(rng)
        number = f"{day:02d}{month:02d}{year % 1000:03d}50{digits(rng, 3)}"
        check = 11 - weighted(number, [7, 6, 5, 4, 3, 2] * 2) % 11
        return None if check == 10 else f"{number}{check % 11}"

    return until(make)


def vat(rng):
    def german():
        number = digits(rng, 8, "123456789")
        return "DE" + number + mod_11_10(number)

    def belgian_():
        number = "0" + digits(rng, 7, "456789")
        return f"BE{number}{97 - int(number) % 97:02d}"

    def french():
        company = digits(rng, 8, "345678")
        company += luhn_digit(company)
        return f"FR{(12 + 3 * (int(company) % 97)) % 97:02d}{company}"

    def italian():
        number = digits(rng, 7, "0123") + f"{rng.randint(1, 100):03d}"
        return rng.choice(["IT", "IT", ""]) + number + luhn_digit(number) if int(number[:7]) else None

    def polish():
        number = digits(rng, 9, "156789")
        check = weighted(number, [6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11
        return None if check == 10 else f"PL{number}{check}"

    def dutch():
        number = digits(rng, 8)
        check = weighted(number, range(9, 1, -1)) % 11
        return None if check == 10 else f"NL{number}{check}B{rng.randint(1, 99):02d}"

    def spanish():
        number = digits(rng, 7)
        total = sum(int(c) if i % 2 else (int(c) * 2 - 9 if int(c) > 4 else int(c) * 2) for i, c in enumerate(number))
        return f"ESB{number}{(10 - total % 10) % 10}"

    def austrian_():
        number = digits(rng, 7)
        total = sum(int(c) if i % 2 == 0 else (int(c) * 2 - 9 if int(c) > 4 else int(c) * 2) for i, c in enumerate(number))
        return f"ATU{number}{(10 - (total + 4) % 10) % 10}"

    def swedish_():
        number = digits(rng, 9)
        return f"SE{number}{luhn_digit(number)}01"

    return until(rng.choice([german, german, belgian_, french, italian, italian, polish, dutch, spanish, austrian_, swedish_]))


def not_vat(rng):
    return rng.choice([lambda: other_digit(rng, vat(rng)), lambda: f"it {digits(rng, 11)}", lambda: f"DE-{digits(rng, 4)}-{digits(rng, 4)}", lambda: f"SE {digits(rng, 5)} units", lambda: f"PL{digits(rng, 7)}"])()
