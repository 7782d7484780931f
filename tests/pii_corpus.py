"""Texts in which it is known what is personal, and the judge of a scanner on them.

Two sets. `sampled()` is others' work: sentences of microsoft/presidio-research, first judged when the patterns were
written. `generated(seed)` is ours: the formats of many countries and vendors in sentences as users of a gateway write
them, and the look-alikes that must not be found. Persons and numbers are made up; card numbers and IBANs carry valid
checksums of random digits. Promise: the same seed gives the same texts.
"""

from __future__ import annotations

import base64
import random
import re
import string
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from penstock.kernel.findings import CARD, EMAIL, IBAN, IP, PATTERN_ENTITIES, PHONE, SECRET, SSN
from penstock.mechanisms.redaction.scanner import Scanner

SAMPLE = Path(__file__).parent / "data" / "presidio_research_sample.txt"
_MARK = re.compile(r"\[\[([A-Z]+)\|(.+?)\]\]")
_Draw = Callable[[random.Random], str]


@dataclass(frozen=True)
class Labelled:
    """A text and what is personal in it, as (entity, start, end)."""

    text: str
    spans: tuple[tuple[str, int, int], ...] = ()


@dataclass
class Score:
    """How well one entity was found; `false` are the texts of the false findings, `missed` of the missed."""

    right: int = 0
    false: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    @property
    def recall(self) -> float:
        wanted = self.right + len(self.missed)
        return self.right / wanted if wanted else 1.0

    @property
    def precision(self) -> float:
        said = self.right + len(self.false)
        return self.right / said if said else 1.0


def marked(line: str) -> Labelled:
    """Return a text written with ``[[ENTITY|value]]`` marks."""
    text, spans, done = "", [], 0
    for match in _MARK.finditer(line):
        text += line[done : match.start()]
        spans.append((match[1], len(text), len(text) + len(match[2])))
        text += match[2]
        done = match.end()
    return Labelled(text + line[done:], tuple(spans))


def sampled() -> list[Labelled]:
    """Return the sentences of presidio-research."""
    lines = SAMPLE.read_text(encoding="utf-8").splitlines()
    return [marked(line.replace("\\n", "\n")) for line in lines if not line.startswith("#")]


def generated(seed: int, rounds: int = 20) -> list[Labelled]:
    """Return `rounds` texts of every format and every look-alike."""
    chance = random.Random(seed)
    texts = []
    for _ in range(rounds):
        for entity, draws in DRAWS.items():
            for draw in draws:
                value = draw(chance)
                texts.append(marked(chance.choice(FRAMES[entity]).format(f"[[{entity}|{value}]]")))
        texts.extend(
            marked(chance.choice(NAMED).format(f"[[{SECRET}|{draw(chance)}]]")) for draw in PASSWORDS
        )
        texts.extend(Labelled(chance.choice(PLAIN).format(draw(chance))) for draw in LOOK_ALIKES)
        texts.extend(Labelled(line) for line in CLEAN)
    return texts


def judge(scanner: Scanner, texts: Iterable[Labelled]) -> dict[str, Score]:
    """Scan and compare. A finding is right if it covers a marked span of its entity and at most two characters more."""
    scores: dict[str, Score] = defaultdict(Score)
    for labelled in texts:
        found = scanner.scan(labelled.text, PATTERN_ENTITIES)
        unmatched = list(labelled.spans)
        for each in found:
            hit = next(
                (s for s in unmatched if s[0] == each.entity and _covers(each.start, each.end, s)), None
            )
            if hit is None:
                scores[each.entity].false.append(labelled.text[each.start : each.end])
            else:
                scores[each.entity].right += 1
                unmatched.remove(hit)
        for entity, start, end in unmatched:
            scores[entity].missed.append(labelled.text[start:end])
    return dict(scores)


def _covers(start: int, end: int, span: tuple[str, int, int]) -> bool:
    return start <= span[1] and end >= span[2] and (span[1] - start) + (end - span[2]) <= 2


def _digits(chance: random.Random, count: int) -> str:
    return "".join(chance.choice(string.digits) for _ in range(count))


def _token(chance: random.Random, count: int, letters: str = string.ascii_letters + string.digits) -> str:
    return "".join(chance.choice(letters) for _ in range(count))


def _luhn_tail(body: str) -> str:
    total = 0
    for place, character in enumerate(reversed(body)):
        value = int(character) * (1 if place % 2 else 2)
        total += value - 9 if value > 9 else value
    return body + str(-total % 10)


def _card(prefixes: str, length: int, groups: str = "") -> _Draw:
    def draw(chance: random.Random) -> str:
        prefix = chance.choice(prefixes.split())
        number = _luhn_tail(prefix + _digits(chance, length - 1 - len(prefix)))
        if not groups:
            return number
        separator, *sizes = groups[0], *map(int, groups[1:])
        parts, done = [], 0
        for size in sizes:
            parts.append(number[done : done + size])
            done += size
        return separator.join(parts)

    return draw


def _iban(country: str, shape: str, *, spaced: bool = False) -> _Draw:
    def draw(chance: random.Random) -> str:
        body = "".join(
            _token(chance, 1, string.ascii_uppercase if c == "a" else string.digits) for c in shape
        )
        number = "".join(str(int(c, 36)) for c in f"{body}{country}00")
        whole = f"{country}{98 - int(number) % 97:02d}{body}"
        return " ".join(whole[at : at + 4] for at in range(0, len(whole), 4)) if spaced else whole

    return draw


def _shape(pattern: str) -> _Draw:
    """Return a draw that fills N (2–9), # (0–9) and keeps the rest."""

    def draw(chance: random.Random) -> str:
        return "".join(
            chance.choice("23456789") if c == "N" else chance.choice(string.digits) if c == "#" else c
            for c in pattern
        )

    return draw


def _ip4(chance: random.Random) -> str:
    first = chance.choice((13, 52, 84, 91, 172, 203))
    return f"{first}.{chance.randint(0, 255)}.{chance.randint(0, 255)}.{chance.randint(1, 254)}"


def _ip6(chance: random.Random) -> str:
    return "2001:db8:" + ":".join(f"{chance.randrange(1, 65_536):x}" for _ in range(6))


def _email(chance: random.Random) -> str:
    names = (
        "bob",
        "anna.k",
        "j.o'brien".replace("'", ""),
        "sales+eu",
        "maria_lopez",
        "x",
        "jürgen.weiß",
        "li-wei.99",
    )
    hosts = (
        "example.com",
        "mail.example.co.uk",
        "firma-süd.de",
        "uni.ac.at",
        "corp.io",
        "sub.domain.example.org",
    )
    return f"{chance.choice(names)}@{chance.choice(hosts)}"


def _jwt(chance: random.Random) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
    body = base64.urlsafe_b64encode(b'{"sub":"' + _digits(chance, 9).encode() + b'"}').decode().rstrip("=")
    return f"{head}.{body}.{_token(chance, 43)}"


def _mixed(chance: random.Random, count: int) -> str:
    """Return a random token that has all three kinds of characters, as key generators make sure."""
    return _token(chance, count - 3) + chance.choice("abc") + chance.choice("XYZ") + chance.choice("789")


DRAWS: dict[str, tuple[_Draw, ...]] = {
    EMAIL: (_email, _email),
    CARD: (
        _card("4", 16),
        _card("4", 16, " 4444"),
        _card("4", 16, "-4444"),
        _card("4", 13),
        _card("51 52 55 2221 2720", 16, " 4444"),
        _card("34 37", 15, " 465"),
        _card("36 38 300", 14, " 464"),
        _card("3528 3589", 16),
        _card("6011 65 644", 16, " 4444"),
        _card("62", 19),
        _card("5018 6304 6759", 12),
        _card("4", 16, "\xa04444"),
    ),
    SSN: (_shape("1##-4#-1###"), _shape("5## 2# 7###"), _shape("2##\u20113#\u20118###")),
    IBAN: (
        _iban("GB", "aaaa" + "9" * 14),
        _iban("GB", "aaaa" + "9" * 14, spaced=True),
        _iban("DE", "9" * 18, spaced=True),
        _iban("FR", "9" * 23),
        _iban("NL", "aaaa" + "9" * 10, spaced=True),
        _iban("NO", "9" * 11),
        _iban("MT", "aaaa" + "9" * 23),
    ),
    IP: (_ip4, _ip4, _ip6),
    PHONE: (
        _shape("+44 20 7### ####"),
        _shape("+49 30 ########"),
        _shape("+1 N##-N##-####"),
        _shape("+1N##N######"),
        _shape("+33 6 ## ## ## ##"),
        _shape("+46 (0)8 ### ## ##"),
        _shape("0044 20 7### ####"),
        _shape("(N##) N##-####"),
        _shape("N##-N##-####"),
        _shape("N##.N##.#### x###"),
        _shape("020 7### ####"),
        _shape("06 ## ## ## ##"),
        _shape("030/########"),
        _shape("0172-#######"),
        _shape("+86 138 #### ####"),
        _shape("+55 11 9####-####"),
    ),
    SECRET: (
        lambda c: "sk-proj-" + _token(c, 48),
        lambda c: "sk-ant-api03-" + _token(c, 93),
        lambda c: "sk-" + _token(c, 48),
        lambda c: "AIza" + _token(c, 35),
        lambda c: "gsk_" + _token(c, 52),
        lambda c: "hf_" + _token(c, 34),
        lambda c: "xai-" + _token(c, 80),
        lambda c: "AKIA" + _token(c, 16, string.ascii_uppercase + "234567"),
        lambda c: "ghp_" + _token(c, 36),
        lambda c: "github_pat_" + _token(c, 82),
        lambda c: "glpat-" + _token(c, 20),
        lambda c: "xoxb-" + _digits(c, 12) + "-" + _token(c, 24),
        lambda c: "sk_live_" + _token(c, 24),
        _jwt,
        lambda c: _mixed(c, 40),
    ),
}

FRAMES: dict[str, tuple[str, ...]] = {
    EMAIL: (
        "Write to {} please.",
        "from: <{}>",
        '{{"user": "{}"}}',
        "Antworten Sie an {}, danke.",
        "mailto:{}?subject=x",
    ),
    CARD: (
        "My card is {}, expires 12/27.",
        "Card: {}\nCVC: 123",
        '{{"pan": "{}"}}',
        "Bitte {} belasten.",
        "pay with {}.",
    ),
    SSN: ("SSN {}.", "His social security number is {}", '{{"ssn":"{}"}}', "ssn={};"),
    IBAN: ("Transfer to {}, thanks", "IBAN: {}", '"iban": "{}"', "Überweise auf {} bis Freitag."),
    IP: ("Requests from {} fail.", "host {}, port 80", "[{}]", "client_ip={} status=200"),
    PHONE: (
        "Call me at {}.",
        "Tel. {}",
        '{{"phone": "{}"}}',
        "{} is her number",
        "Erreichbar unter {} bis 17 Uhr",
    ),
    SECRET: (
        "Why does {} not work?",
        'key = "{}"',
        "export TOKEN={}",
        "curl -H 'Authorization: Bearer {}'",
        "`{}`",
    ),
}

PASSWORDS: tuple[_Draw, ...] = (
    _shape("hunter##!"),
    _shape("Sommer20##"),
    _shape("correct-horse-##"),
    lambda c: _token(c, 12, string.ascii_letters + string.digits + "!$%&*+") + c.choice("0123456789"),
)

NAMED = (
    "password: {}",
    "my password is {}",
    'DB_PASSWORD="{}"',
    "client_secret={}",
    "{{'api_key': '{}'}}",
    "Das Passwort: {}",
    "token => {}",
    "mysql://root:{}@db.example.com/app",
)

LOOK_ALIKES: tuple[_Draw, ...] = (
    _shape("1700######"),
    _shape("17000########"),
    _shape("2026-11-2# 1#:4#:0#"),
    _shape("2026-11-2#T1#:4#:0#.######Z"),
    _shape("v1.2.#.#"),
    _shape("1.#.3"),
    _shape("ISBN 978-3-16-148410-#"),
    _shape("order N###-####"),
    _shape("invoice 2026-00####"),
    _shape("$1,###,###.##"),
    _shape("0.########"),
    _shape("lat 5#.######, lon -0.######"),
    _shape("00:1A:2B:3C:4D:#E"),
    _shape("12:30:#5"),
    _shape("std::vector<int> a#::b"),
    _shape("icon@2x.png"),
    _shape("@user_## and #####"),
    _shape("§ 3.1.3.#"),
    _shape("192.168.0.0.##"),
    _shape("300.1.2.#"),
    _shape("127.0.0.1"),
    _shape("page ### of ###, 12 345 678 items"),
    lambda c: str(c.randrange(10**15, 2 * 10**15)),
    lambda c: str(uuid.UUID(int=c.getrandbits(128), version=4)),
    lambda c: f"{c.getrandbits(256):064x}",
    lambda c: f"{c.getrandbits(160):040x}",
    lambda c: "req_" + _mixed(c, 24),
    lambda c: "chatcmpl-" + _mixed(c, 29),
    lambda c: "getUserAccountBalanceByCustomerIdV2",
    lambda c: "com/example/project/module/service/UserServiceImpl",
    lambda c: "AB12 CDEF 3456 7890 1234",
)

KNOWN_FALSE = {"12.3.4.5"}
"""Found although it is nobody's: a chapter that is a valid address."""

PLAIN = ("It says {} there.", "value={}", "see {}, please", '{{"x": "{}"}}', "({})")

CLEAN = (
    "The password: please choose one with at least twelve characters.",
    "Set token = get_token(user) before you call api_key=os.environ['KEY'].",
    'password = "{{DB_PASSWORD}}"',
    "secret: ${VAULT_SECRET}",
    "api_key: YOUR_API_KEY",
    "The token limit is 128000 tokens per request.",
    "Our secret: a good team and more coffee.",
    "case Token::Assign: return Token::Comma;",
    "Tell me about the history of the social security system in 1935.",
    "Is the phone 6.1 inches or 6.7 inches, and does it cost 799 or 999?",
    "Call the function 3 times with 100 and 200.",
    "I was born in 1984 and moved 12 times, 4 of them in 2001.",
    "postgres://user:{password}@localhost/db",
    "Please summarise chapter 12.3.4.5 of the manual.",
)


def table(scores: dict[str, Score]) -> Iterator[tuple[str, int, float, float, str]]:
    """Give a row by entity: name, spans, recall, precision, false findings with their number."""
    for entity in sorted(scores):
        score = scores[entity]
        false = ", ".join(f"{text!r}×{count}" for text, count in Counter(score.false).most_common())
        yield entity, score.right + len(score.missed), score.recall, score.precision, false
