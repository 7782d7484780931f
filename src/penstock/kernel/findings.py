"""What a scan of a text found: which kind of personal datum or secret, and where. Never the datum itself.

Promise: a `Finding` can be logged, counted and sent to an audit record; it holds positions and names only. Positions
are in characters of the text that was scanned, end exclusive.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence

import msgspec

EMAIL = "EMAIL"
PHONE = "PHONE"
CARD = "CARD"
SSN = "SSN"
IBAN = "IBAN"
IP = "IP"
SECRET = "SECRET"  # noqa: S105 - the name of an entity, not a secret

PATTERN_ENTITIES = frozenset({EMAIL, PHONE, CARD, SSN, IBAN, IP, SECRET})
"""What the built-in patterns find. Any other entity needs a recogniser that knows it."""


class Finding(msgspec.Struct, frozen=True, gc=False):
    """Characters `start` to `end` are an `entity`; `score` from 0 to 1 (1: a checksum or a fixed shape agrees)."""

    start: int
    end: int
    entity: str
    score: float = 1.0


def apart(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings in order without overlaps: of those that touch, the surest; then the longest; then the first."""
    kept: list[Finding] = []
    for finding in sorted(findings, key=lambda each: (-each.score, each.start - each.end, each.start)):
        place = bisect(kept, finding.start, key=lambda each: each.start)
        after_last = place == 0 or kept[place - 1].end <= finding.start
        if after_last and (place == len(kept) or finding.end <= kept[place].start):
            kept.insert(place, finding)
    return kept
