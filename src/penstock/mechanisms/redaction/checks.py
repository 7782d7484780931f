"""The second look: is this candidate really a card, an IBAN, an address, a telephone number, a key?

A pattern proposes, a check decides. Promises: pure functions of the candidate's characters; none keeps or logs them;
each is linear in the candidate, which a pattern has bounded. Sources are named where a table or a rule comes from.
"""

from __future__ import annotations

import ipaddress
import re
from itertools import pairwise
from math import log2

# (lowest and highest prefix, lengths). ISO/IEC 7812 issuer ranges as the networks publish them; 12–19 digits.
_BRANDS: tuple[tuple[int, int, frozenset[int]], ...] = tuple(
    (low, high, frozenset(lengths))
    for low, high, lengths in (
        (3, 6, (16,)),  # whatever travel, banking and merchandising issue
        (4, 4, (13, 19)),  # Visa
        (2221, 2720, (16,)),  # Mastercard
        (34, 34, (15,)),  # American Express
        (37, 37, (15,)),
        (300, 305, (14,)),  # Diners Club
        (3095, 3095, (14,)),
        (36, 36, (14,)),
        (38, 39, (14,)),
        (3528, 3589, (17, 18, 19)),  # JCB
        (1800, 1800, (15,)),
        (2131, 2131, (15,)),
        (6011, 6011, (19,)),  # Discover
        (622126, 622925, (17, 18, 19)),
        (644, 659, (19,)),
        (62, 62, (17, 18, 19)),  # UnionPay
        (81, 82, (16,)),  # UnionPay, RuPay
        (50, 50, (12, 13, 14, 15, 17, 18, 19)),  # Maestro
        (56, 58, (12, 13, 14, 15, 17, 18, 19)),
        (63, 63, (12, 13, 14, 15, 17, 18, 19)),
        (67, 67, (12, 13, 14, 15, 17, 18, 19)),
        (2200, 2204, (16,)),  # Mir
        (9792, 9792, (16,)),  # Troy
    )
)

# Length by country, SWIFT IBAN registry release 99.
_IBAN_LENGTHS = {
    country: int(length)
    for country, length in re.findall(
        r"([A-Z]{2}):([0-9]{2})",
        "AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BI:27 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24 DE:22 "
        "DJ:27 DK:18 DO:28 EE:20 EG:29 ES:24 FI:18 FK:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 GT:28 HN:28 "
        "HR:21 HU:28 IE:22 IL:23 IQ:23 IS:26 IT:27 JO:30 KW:30 KZ:20 LB:28 LC:32 LI:21 LT:20 LU:20 LV:21 LY:25 "
        "MC:27 MD:24 ME:22 MK:19 MN:20 MR:27 MT:31 MU:30 NI:28 NL:18 NO:15 OM:23 PK:24 PL:28 PS:29 PT:25 QA:29 "
        "RO:24 RS:22 RU:33 SA:24 SC:31 SD:18 SE:24 SI:19 SK:24 SM:27 SO:23 ST:25 SV:28 TL:23 TN:24 TR:26 UA:29 "
        "VA:22 VG:24 XK:20 YE:30",
    )
}

# Calling codes of one and two digits, and the first two digits of those with three (ITU-T E.164 list of 2016-11-15).
_CODES_1 = frozenset("17")
_CODES_2 = frozenset(
    re.findall(
        r"[0-9]{2}",
        "20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 "
        "86 90 91 92 93 94 95 98",
    )
)
_CODES_3 = frozenset(
    re.findall(r"[0-9]{2}", "21 22 23 24 25 26 29 35 37 38 42 50 59 67 68 69 80 85 87 88 96 97 99")
)

_DECIMAL = re.compile(r"^\+?[0-9]+\.[0-9]+$")
_DOUBLED = str.maketrans("0123456789", "0246813579")  # twice the digit, its own digits added
_NOT_DIGITS = re.compile(r"[^0-9]+")
_DATE = re.compile(
    r"^\(?(?:[0-9]{1,2}[./\-][0-9]{1,2}[./\-](?:19|20)[0-9]{2}|(?:19|20)[0-9]{2}[./\-][0-9]{1,2}[./\-])"
)
_FILE_ENDINGS = frozenset(
    re.findall(r"[a-z]+", "png jpg jpeg gif svg webp ico css js ts py md json html pdf zip")
)
_BLANK = re.compile(
    r"^(?:[{<$\[%(].*|.*(?:\$\{|\{\{|\}\}|\(\)|\.\.\.|…).*|(.)\1+|(?:your|my|the|some|example|sample|dummy|change|test)"
    r"[\-_a-z]*|(?:os|process|env|self|config|settings|args|req|request|this)\..*|(?:none|null|nil|true|false|undefined|"
    r"required|optional|string|str|bytes|secret|password|passwd|token|redacted|hidden|x+|\*+)[;,.)]*)$",
    re.IGNORECASE,
)
_MARK = re.compile(r"[^A-Za-z0-9]")
# An expression, a dotted name, a path, a URL, a C++ scope, a plain identifier: what code has behind "token =".
_CODE = re.compile(r"[()\[\]{}=<>|]|^[a-z_]+(?:\.[a-z_]+)+$|^[/:]|::|://|^[A-Za-z_\-]+$", re.IGNORECASE)
# Names of things, drawn at random and public: ids that vendors give to requests, messages, calls, files.
_ID = re.compile(
    r"(?:req|msg|msgbatch|toolu|srvtoolu|call|chatcmpl|cmpl|resp|rs|fc|run|thread|asst|file|batch|evt|sess|trace|span|"
    r"org|proj|user|cus|ch|pi|sub|in|price|prod|acct|container|model)[_\-]"
)


def digits_of(text: str) -> str:
    """Return the ASCII digits of `text`, joined."""
    return _NOT_DIGITS.sub("", text)


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    return (sum(map(int, digits[-1::-2])) + sum(map(int, digits[-2::-2].translate(_DOUBLED)))) % 10 == 0


def card(digits: str) -> bool:
    """Whether 12 to 19 digits are of a length that their issuer's prefix has, and their checksum holds."""
    return 12 <= len(digits) <= 19 and luhn(digits) and _issued(digits)


def _issued(digits: str) -> bool:
    return any(
        len(digits) in lengths and low <= int(digits[: len(str(low))]) <= high
        for low, high, lengths in _BRANDS
    )


def card_length(candidate: str) -> int:
    """Return how many characters of `candidate` are a card number: all, or those before a separator; 0 for none.

    Digits that follow in groups (an expiry date, the next number) are not part of it.
    """
    end = len(candidate)
    while end:
        if card(digits_of(candidate[:end])):
            return end
        end = next((at for at in range(end - 1, 0, -1) if not candidate[at].isdigit()), 0)
    return 0


def ssn(candidate: str) -> bool:
    """Whether nine digits may be a US social security number (SSA: no area 000, 666, 9xx; no group 00, serial 0000)."""
    digits = digits_of(candidate)
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    return area not in {"000", "666"} and area[0] != "9" and group != "00" and serial != "0000"


def iban_length(candidate: str) -> int:
    """Return how many characters of `candidate` are an IBAN, 0: none. ISO 13616: length by country, check by 97."""
    wanted = _IBAN_LENGTHS.get(candidate[:2], 0)
    taken = seen = 0
    while taken < len(candidate) and seen < wanted:
        seen += candidate[taken] != " "
        taken += 1
    compact = candidate[:taken].replace(" ", "")
    if not wanted or len(compact) != wanted:
        return 0
    number = "".join(str(int(character, 36)) for character in compact[4:] + compact[:4])
    return taken if int(number) % 97 == 1 else 0


def ip(candidate: str) -> bool:
    """Whether this is an address of a machine: well-formed, and neither loopback nor unspecified (nobody's).

    Four single digits are a section or a version far more often than an address, and ``1::2`` is a slice.
    """
    try:
        address = ipaddress.ip_address(candidate)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified:
        return False
    if address.version == 4:
        return len(candidate) > len("1.2.3.4")
    return (
        len([group for group in candidate.split(":") if group]) >= 4 or len(candidate.partition(":")[0]) > 2
    )


def email(candidate: str) -> bool:
    """Whether this is somebody's address: not a file (``icon@2x.png``), no dot at either end of the local part."""
    local, _, host = candidate.rpartition("@")
    wrong = local.startswith(".") or local.endswith(".") or ".." in candidate or host.startswith("-")
    return not wrong and host.rpartition(".")[2].lower() not in _FILE_ENDINGS


def calling_code(digits: str) -> bool:
    """Whether an international number begins with a calling code that is in use (ITU-T E.164)."""
    return digits[:1] in _CODES_1 or digits[:2] in _CODES_2 or digits[:2] in _CODES_3


def international(candidate: str) -> bool:
    """Whether ``+`` or ``00`` is followed by a calling code and a number of 7 to 15 digits in all.

    The plans of +1 and +7 have exactly 11; a number without groups has at least 9, or it is a signed figure.
    """
    candidate = _own(candidate)
    digits = digits_of(candidate)
    if not candidate.startswith("+"):
        digits = digits[2:]
    if digits[:1] in _CODES_1:
        return len(digits) == 11
    grouped = len(_MARK.findall(candidate)) > 2 or " " in candidate
    return (
        (7 if grouped else 9) <= len(digits) <= 15 and calling_code(digits) and not _DECIMAL.match(candidate)
    )


def _own(candidate: str) -> str:
    """Return a telephone number without its extension (``x12``, ``ext. 12``)."""
    return candidate.partition("x")[0].partition("e")[0]


def national(candidate: str) -> bool:
    """Whether digits in groups that begin with a trunk 0 may be a telephone number: 9 to 12 digits, not a date."""
    return 9 <= len(digits_of(candidate)) <= 12 and not _DATE.match(candidate)


def named_number(candidate: str) -> bool:
    """Whether what follows "phone:" is a number: 7 to 15 digits, not a date, no letter code."""
    return 7 <= len(digits_of(_own(candidate))) <= 15 and not _DATE.match(candidate)


def quoted_secret(value: str) -> bool:
    """Whether what stands in quotes behind "password =" is a secret, not a blank to fill in, a name or a word."""
    return not (_BLANK.match(value) or value.isalpha() or _CODE.search(value))


def bare_secret_length(value: str) -> int:
    """Return how many characters behind "password:" are a secret; 0 for none.

    Prose ("password: please choose") has no digit and no mark within it; code has brackets, dots, paths.
    """
    bare = value.rstrip(".,;:?)")
    mixed = any(character.isdigit() for character in bare) or bool(_MARK.search(bare))
    return len(bare) if mixed and len(bare) >= 6 and not (_BLANK.match(bare) or _CODE.search(bare)) else 0


def credential(value: str) -> bool:
    """Whether what stands between ``user:`` and ``@host`` in a URL is a password, not a blank to fill in."""
    return not _BLANK.match(value)


def random_token(candidate: str) -> bool:
    """Whether a long run looks drawn at random: three kinds of characters, high entropy, kinds mixed as no name mixes.

    4.2 bits per character separates random base62 of 24 characters (4.3 ± 0.1) from words; hexadecimal digests never
    reach it, which is meant: they are seldom secrets. Neighbours in random base62 are of different kinds 0.62 ± 0.08 of
    the time, in ``getBalanceByCustomerIdV2`` 0.35.
    """
    kinds = [
        character.islower() + 2 * character.isupper() + 3 * character.isdigit() for character in candidate
    ]
    if _ID.match(candidate) or not {1, 2, 3} <= set(kinds) or entropy_bits(candidate) < 4.2:
        return False
    return sum(a != b for a, b in pairwise(kinds)) > 0.42 * (len(kinds) - 1)


def entropy_bits(text: str) -> float:
    """Return the Shannon entropy of the characters of `text`, in bits per character."""
    length = len(text)
    counts = [text.count(character) for character in set(text)]
    return -sum(count / length * log2(count / length) for count in counts)
