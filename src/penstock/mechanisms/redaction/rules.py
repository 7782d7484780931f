"""The patterns, each with the check that has the last word.

Every pattern is in RE2's syntax (no look-around, linear time whatever the text). A pattern may propose too
much: `Rule.measure` says how many characters of the proposal are the thing, 0 for none. `group` is the part of a match
that is the finding, so that a rule may ask for words before it. Secrets' shapes are those that the vendors document.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from penstock.kernel.findings import CARD, EMAIL, IBAN, IP, PHONE, SECRET, SSN
from penstock.mechanisms.redaction import checks


class Rule(NamedTuple):
    """A pattern for `entity`. A finding may touch a letter or digit on its left or right only if `glued`.

    Nothing is sought inside a refused candidate if it is a `run`; otherwise behind its first letters or digits.
    """

    entity: str
    pattern: str
    measure: Callable[[str], int]
    group: int = 0
    score: float = 1.0
    glued: bool = False
    run: bool = False


def _whole(check: Callable[[str], bool]) -> Callable[[str], int]:
    """Return a measure that takes all of a candidate or nothing of it."""
    return lambda candidate: len(candidate) if check(candidate) else 0


# Spaces, dots, hyphens and their typographic twins (no-break space, U+2010 to U+2015).
_GAP: Final = r"[ .\x{A0}\x{2010}-\x{2015}\-]"
_EXTENSION: Final = r"(?: ?(?:x|ext\.?) ?[0-9]{1,5})?"
_DIGITS: Final = rf"\(?[0-9](?:{_GAP}?[()/]?{_GAP}?[0-9]){{6,14}}"
_CALLS: Final = (
    "phone|telephone|tel|mobile|cell|cellphone|fax|whatsapp|sms|call|calling|dial|text me|reach me|ring|answering|"
    "téléphone|portable|telefon|telefonnummer|handy|rufnummer|teléfono|telefono|móvil|celular|cellulare|telefone|"
    "telefoon|mobiel|puhelin|telefonszám"
)
_NAMES: Final = (
    "password|passwd|passphrase|pwd|passwort|contraseña|mot de passe|secret|token|api[ _\\-]?key|apikey|"
    "access[_\\-]?key|secret[_\\-]?key|private[_\\-]?key|account[_\\-]?key|client[_\\-]?secret|auth[_\\-]?key|"
    "credentials?|bearer"
)
_NAMED: Final = rf"(?i)(?:{_NAMES})[\"'`]?(?: ?(?:=>|:=|=|:) ?| is:? )"
_QUOTED: Final = r"[\"'`]([^\"'`\s]{6,200})[\"'`]"
_BARE: Final = r"([^\s\"'`,;]{6,200})"
_IN_URL: Final = r"://[^/\s:@\"']{0,64}:([^/\s:@\"']{3,200})@[A-Za-z0-9]"
_KEYS: Final = (
    r"sk-(?:proj-|ant-|or-|svcacct-|admin-|lf-|live-)?[A-Za-z0-9_\-]{20,200}",  # OpenAI, Anthropic, OpenRouter
    r"AIza[A-Za-z0-9_\-]{35}",  # Google
    r"(?:gsk|xai|nvapi|pplx|fw|csk|r8|hf|tvly|lsv2_pt|lsv2_sk)[_\-][A-Za-z0-9_\-]{20,200}",  # model hosts and tools
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}",  # AWS
    r"(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255})",  # GitHub
    r"glpat-[A-Za-z0-9_\-]{20,100}",  # GitLab
    r"xox[abeoprs]-[A-Za-z0-9\-]{10,250}",  # Slack
    r"(?:sk|rk|pk|whsec)_(?:live|test)?_?[A-Za-z0-9]{20,250}",  # Stripe
    r"(?:npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_\-]{50,250}|dop_v1_[a-f0-9]{64}|SG\.[A-Za-z0-9_\-]{22}\.[A-Za-z0-9_\-]{43})",
    r"eyJ[A-Za-z0-9_\-]{8,}\.eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}",  # JWT (RFC 7519)
    r"pk_[0-9a-f]{8,32}_[A-Za-z0-9_\-]{20,100}",  # a platform's own virtual keys
)

_ISSUER_GROUPS: Final = rf"\b[1-689](?:[0-9]{{11,18}}|[0-9]{{3}}(?:{_GAP}[0-9]{{3,6}}){{2,4}})\b"
_SSN_NAMED: Final = (
    r"(?i)(?:\bssn|social security(?: number| no\.?)?)\W{0,4}(?:\w{1,4}\W{1,3})?([0-8][0-9]{8})\b"
)
_ABROAD: Final = rf"\b00[1-9][0-9]{{0,2}}{_GAP}(?:{_GAP}?[()/]?[0-9]){{6,13}}{_EXTENSION}"
_NAMED_NUMBER: Final = rf"(?i)\b(?:{_CALLS})\b[^0-9+(]{{0,24}}({_DIGITS}{_EXTENSION})\b"
_NANP: Final = (
    rf"(?:\b1{_GAP}?)?(?:\([2-9][0-9]{{2}}\) ?|\b[2-9][0-9]{{2}}{_GAP})"
    rf"[0-9]{{3}}{_GAP}[0-9]{{4}}{_EXTENSION}\b"
)
_TRUNK: Final = (
    rf"(?:\(0[1-9][0-9]{{0,3}}\)|\b0[1-9][0-9]{{0,3}})(?:(?:{_GAP}|/| ?[/\-] ?)[0-9]{{2,8}}){{1,5}}\b"
)
_PEM: Final = (
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s\\]*(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"
)

RULES: Final = (
    Rule(EMAIL, r"[\pL\pN._%+\-]+@(?:[\pL\pN\-]+\.)+\pL{2,24}", _whole(checks.email), score=0.95),
    Rule(CARD, _ISSUER_GROUPS, checks.card_length),
    Rule(SSN, rf"\b[0-8][0-9]{{2}}{_GAP}[0-9]{{2}}{_GAP}[0-9]{{4}}\b", _whole(checks.ssn)),
    Rule(SSN, _SSN_NAMED, _whole(checks.ssn), group=1),
    Rule(IBAN, r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?", checks.iban_length),
    Rule(IP, r"\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b", _whole(checks.ip)),
    Rule(IP, r"[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,39}", _whole(checks.ip)),
    Rule(PHONE, rf"\+[1-9](?:{_GAP}?[()/]?{_GAP}?[0-9]){{6,14}}{_EXTENSION}", _whole(checks.international), score=0.9),
    Rule(PHONE, _ABROAD, _whole(checks.international), score=0.8),
    Rule(PHONE, _NANP, len, score=0.8),
    Rule(PHONE, _TRUNK, _whole(checks.national), score=0.6),
    Rule(PHONE, _NAMED_NUMBER, _whole(checks.named_number), group=1, score=0.7),
    *(Rule(SECRET, rf"\b{shape}", len) for shape in _KEYS),
    Rule(SECRET, _PEM, len, glued=True),
    Rule(SECRET, _IN_URL, _whole(checks.credential), group=1, glued=True),
    Rule(SECRET, _NAMED + _QUOTED, _whole(checks.quoted_secret), group=1, score=0.9, glued=True),
    Rule(SECRET, _NAMED + _BARE, checks.bare_secret_length, group=1, score=0.8, glued=True),
    Rule(SECRET, r"[A-Za-z0-9+/_\-]{24,128}={0,2}", _whole(checks.random_token), score=0.6, run=True),
)  # fmt: skip
