"""What a tenant wants done with which personal data, in which direction, and what was done: counted.

    requests: {EMAIL: replace, CARD: mask, SECRET: refuse, IP: flag}      answers: {CARD: mask}      languages: (en, de)

Promises: a policy is plain data and reports all its mistakes at once; an entity that it does not name is left alone and
not even sought. Counters only grow and hold names and numbers, never a value.
"""

from __future__ import annotations

from collections import Counter, deque
from enum import StrEnum
from typing import Final, Literal

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.findings import PATTERN_ENTITIES

BUDGET_MS: Final = 30.0
BUDGET_MS_MAX: Final = 5_000.0
SKIP_LEAST: Final = 100
"""Requests in the window before a share means anything."""
_SLOT_S: Final = 60.0
_SLOTS: Final = 10


class Action(StrEnum):
    """What becomes of a finding. The severest of a text's findings decides about the whole request."""

    ALLOW = "allow"
    FLAG = "flag"
    """Goes on as it is; the request's record says so."""
    MASK = "mask"
    """Replaced by the entity's name for good."""
    REPLACE = "replace"
    """Replaced by a stand-in, put back in the answer."""
    REFUSE = "refuse"


class RedactionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's rules. `budget_ms` bounds the wait for a scan; `past_budget` says what then: the request goes on
    flagged and is scanned afterwards, or it is refused. `languages` are those of its texts, for named entities.
    """

    requests: dict[str, Action] = {}
    answers: dict[str, Action] = {}
    languages: tuple[str, ...] = ("en",)
    budget_ms: float = BUDGET_MS
    past_budget: Literal["flag", "refuse"] = "flag"

    @property
    def wanted(self) -> frozenset[str]:
        """Return the entities sought in requests."""
        return _sought(self.requests)

    @property
    def wanted_in_answers(self) -> frozenset[str]:
        """Return the entities sought in answers."""
        return _sought(self.answers)


def faults(policy: RedactionPolicy, known: frozenset[str] = PATTERN_ENTITIES) -> list[str]:
    """Return all that is wrong with a policy, one line each. `known` are the entities that an engine here can find."""
    found = [
        f"{side}.{entity}: nothing here finds it; known: {', '.join(sorted(known))}"
        for side, rules in (("requests", policy.requests), ("answers", policy.answers))
        for entity in sorted(_sought(rules) - known)
    ]
    found.extend(
        f"answers.{entity}: replace needs somebody to put it back; use mask"
        for entity, action in policy.answers.items()
        if action is Action.REPLACE
    )
    if not 0 < policy.budget_ms <= BUDGET_MS_MAX:
        found.append(f"budget_ms: {policy.budget_ms:g} is not above 0 and at most {BUDGET_MS_MAX:g}")
    if not policy.languages:
        found.append("languages: name at least one")
    return found


def _sought(rules: dict[str, Action]) -> frozenset[str]:
    return frozenset(entity for entity, action in rules.items() if action is not Action.ALLOW)


class Tally:
    """What redaction has done since the process began, for metrics and for the one alert it has."""

    def __init__(self, clock: Clock) -> None:
        """`clock` moves the window of the skip rate."""
        self._clock = clock
        self._slots: deque[tuple[float, int, int]] = deque(maxlen=_SLOTS)
        self.requests = 0
        self.skipped = 0
        """Requests that went on, or were refused, because the scan took longer than its budget."""
        self.refused = 0
        self.found: Counter[tuple[str, str, str]] = Counter()
        """Findings by direction ("request", "answer", "late"), entity and action."""
        self.late_scans = 0
        self.late_dropped = 0
        """Skipped requests that were never scanned because too many waited."""
        self.late_failed = 0
        self.engine_failures = 0
        """Calls of the second engine that failed or were late."""

    def scanned(self, *, skipped: bool) -> None:
        """Count one request."""
        self.requests += 1
        self.skipped += skipped
        at_s = self._clock.monotonic_s() // _SLOT_S * _SLOT_S
        if self._slots and self._slots[-1][0] == at_s:
            _, requests, skips = self._slots.pop()
            self._slots.append((at_s, requests + 1, skips + skipped))
        else:
            self._slots.append((at_s, 1, int(skipped)))

    def skip_rate(self) -> float:
        """Return the share of requests of the last ten minutes that were skipped, 0 to 1."""
        requests, skipped = self._recent()
        return skipped / requests if requests else 0.0

    def measured_rate(self) -> float:
        """Return the skip rate of at least `SKIP_LEAST` requests; 0 of fewer, whose share means nothing."""
        requests, _ = self._recent()
        return self.skip_rate() if requests >= SKIP_LEAST else 0.0

    def _recent(self) -> tuple[int, int]:
        oldest_s = self._clock.monotonic_s() - _SLOT_S * _SLOTS
        recent = [slot for slot in self._slots if slot[0] >= oldest_s]
        return sum(slot[1] for slot in recent), sum(slot[2] for slot in recent)
