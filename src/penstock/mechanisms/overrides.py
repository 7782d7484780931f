"""A guard against instruction override: text that tries to give the model new orders, scored by patterns.

Each rule (data/overrides.json) that fires adds its weight to a score as independent evidence does: 1 − Π(1 − weight).
What users and tools say is looked at, and what the model says is not; the system prompt is the tenant's own. Text is
read as a model would read it: compatibility forms and case folded, invisible characters dropped, look-alike letters of
other scripts turned into Latin ones, base64 opened once.

What it is and is not: a tripwire for known phrasings. Measured at 0.5: 56 of 62 attacks and one false alarm in 62
harmless texts of tests/data/injections.txt, and no attack there that argues instead of ordering; 57 of 60 in the lists
of other projects; three false alarms in 33,704 questions to a bank and a voice assistant (Banking77, CLINC150). A text
*about* prompt injection that quotes one is flagged. Flag by default, refuse where false alarms are cheaper than misses,
and never let it be the only wall.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator
from importlib.resources import files
from typing import Final

import msgspec

from penstock.mechanisms.guards import Decision, Reading, Verdict
from penstock.mechanisms.patterns import PatternSet

FLAG_AT: Final = 0.5
REFUSE_AT: Final = 0.8
HIDDEN_MOST: Final = 8
"""Base64 runs opened in one text."""
TEXT_CHARS_MOST: Final = 200_000
"""Of one passage; the rest of a longer one is not looked at, and the verdict says so."""


class Rule(msgspec.Struct, frozen=True):
    """A pattern in RE2's syntax over folded text, and how much of an override it is by itself."""

    kind: str
    weight: float
    pattern: str


class _Table(msgspec.Struct, frozen=True):
    fragments: dict[str, str]
    rules: tuple[Rule, ...]


def rules() -> tuple[Rule, ...]:
    """Return the shipped rules, their ``@FRAGMENTS@`` filled in. Raises KeyError for an unknown one."""
    table = msgspec.json.decode(
        (files("penstock.mechanisms") / "data" / "overrides.json").read_bytes(), type=_Table
    )
    return tuple(
        Rule(rule.kind, rule.weight, _FRAGMENT.sub(lambda name: table.fragments[name[1]], rule.pattern))
        for rule in table.rules
    )


_FRAGMENT: Final = re.compile("@([A-Z_]+)@")
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff\U000e0000-\U000e007f]"
)
_LOOK_ALIKE: Final = str.maketrans("аеорсухіјѕԁһӏɡαονιτ", "aeopcyxijsdhlgaovit")
_HIDDEN: Final = re.compile(r"[A-Za-z0-9+/]{24,4000}={0,2}")


class OverrideGuard:
    """Flags at a score of `flag_at`, refuses at `refuse_at`; above 1 it never refuses."""

    name = "instruction override"

    def __init__(self, *, flag_at: float = FLAG_AT, refuse_at: float = 2.0) -> None:
        """By default it only flags. Raises ValueError if it would refuse below where it flags."""
        if not 0 < flag_at <= refuse_at:
            raise ValueError(f"flag_at {flag_at:g} must be above 0 and at most refuse_at {refuse_at:g}")
        self._flag_at = flag_at
        self._refuse_at = refuse_at
        self._rules = rules()
        self._patterns = PatternSet([rule.pattern for rule in self._rules])

    async def check(self, reading: Reading) -> Verdict:
        """Score the worst passage of users and tools; answers are not its business."""
        worst, names, cut = 0.0, (), False
        if reading.direction == "request":
            for passage in reading.passages:
                if passage.role in {"user", "tool"}:
                    cut = cut or len(passage.text) > TEXT_CHARS_MOST
                    score, fired = self.score(passage.text[:TEXT_CHARS_MOST])
                    if score > worst:
                        worst, names = score, fired
        decision = (
            Decision.REFUSE
            if worst >= self._refuse_at
            else Decision.FLAG
            if worst >= self._flag_at
            else Decision.ALLOW
        )
        reason = ", ".join(names) + (f" (only the first {TEXT_CHARS_MOST:,} characters read)" if cut else "")
        return Verdict(decision=decision, guard=self.name, reason=reason, score=round(worst, 3))

    def score(self, text: str) -> tuple[float, tuple[str, ...]]:
        """Return how much `text` looks like an override, 0 to 1, and the kinds of rules that fired."""
        fired = {
            place for view in _views(text) for place in self._patterns.hits(view.encode("utf-8", "replace"))
        }
        innocent = 1.0
        for place in fired:
            innocent *= 1 - self._rules[place].weight
        return 1 - innocent, tuple(sorted({self._rules[place].kind for place in fired}))


def _views(text: str) -> Iterator[str]:
    """Give `text` as it may be read: folded; with look-alike letters as Latin ones; what base64 in it says."""
    folded = _folded(text)
    yield folded
    if not folded.isascii():
        latin = folded.translate(_LOOK_ALIKE)
        if latin != folded:
            yield latin
    for count, match in enumerate(_HIDDEN.finditer(text)):
        if count == HIDDEN_MOST:
            break
        opened = _opened(match[0])
        if opened:
            yield _folded(opened)


def _folded(text: str) -> str:
    """Return `text` in one case and form, without invisible characters, runs of blanks as one."""
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).replace("’", "'")
    return re.sub(r"[ \t]+", " ", text.casefold())


def _opened(run: str) -> str:
    """Return the text that a base64 `run` holds; "" if it holds none."""
    try:
        text = base64.b64decode(run + "=" * (-len(run) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return text if text.isprintable() else ""
