"""How busy, how quick and how well each back end is, as routing may know it at the moment of choosing.

Promises: a reading is a plain value, so a choice made from one can be repeated; a back end nobody has heard of reads as
idle, well and unmeasured; a label costs one small record, and there are at most `LABELS_MOST` of them (the rest reads
as unknown, `left_out` counts them). Latency is an exponentially weighted mean (weight 1/8, as RFC 6298 smooths
round trips).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from penstock.kernel.clock import Clock
from penstock.ports.providers import Quota, RateHint

SMOOTHING: Final = 0.125
LABELS_MOST: Final = 4_096


class Reading(NamedTuple):
    """A back end at one moment. `first_token_ms` 0 is not measured; `quota_left` is a share, 1 when unknown."""

    well: bool = True
    in_flight: int = 0
    first_token_ms: float = 0.0
    quota_left: float = 1.0


class Load(Protocol):
    """Whoever knows how back ends are."""

    def reading(self, label: str, /) -> Reading:
        """Return how a back end is now."""
        ...


UNKNOWN: Final = Reading()


class Idle:
    """Knows nothing: every back end is idle and well."""

    def reading(self, _label: str, /) -> Reading:
        """Return that nothing is known."""
        return UNKNOWN


class Deaf:
    """Hears of calls and keeps nothing."""

    def began(self, _label: str, /) -> None:
        """Do nothing."""

    def first_token(self, _label: str, _after_ms: float, /) -> None:
        """Do nothing."""

    def ended(self, _label: str, /) -> None:
        """Do nothing."""


class _Kept:
    __slots__ = ("first_token_ms", "in_flight", "quota_left", "quota_until_s")

    def __init__(self) -> None:
        self.in_flight = 0
        self.first_token_ms = 0.0
        self.quota_left = 1.0
        self.quota_until_s = 0.0


class Loads:
    """Load as this process sees it. `well(label)` asks the breaker."""

    def __init__(self, clock: Clock, well: Callable[[str], bool]) -> None:
        """Start without any back end."""
        self._clock = clock
        self._well = well
        self._kept: dict[str, _Kept] = {}
        self.left_out = 0

    def reading(self, label: str, /) -> Reading:
        """Return how a back end is now; a quota that was told is believed until the vendor refills it."""
        kept = self._kept.get(label)
        if kept is None:
            return Reading(well=self._well(label))
        left = kept.quota_left if self._clock.monotonic_s() < kept.quota_until_s else 1.0
        return Reading(self._well(label), kept.in_flight, kept.first_token_ms, left)

    def began(self, label: str) -> None:
        """Note that a call begins."""
        kept = self._of(label)
        if kept is not None:
            kept.in_flight += 1

    def first_token(self, label: str, after_ms: float) -> None:
        """Note how long the first token took, in milliseconds."""
        kept = self._of(label)
        if kept is not None:
            known = kept.first_token_ms
            kept.first_token_ms = after_ms if not known else known + SMOOTHING * (after_ms - known)

    def ended(self, label: str) -> None:
        """Note that a call has ended, however."""
        kept = self._kept.get(label)
        if kept is not None and kept.in_flight:
            kept.in_flight -= 1

    def told(self, label: str, rates: RateHint) -> None:
        """Note what the vendor says is left of its limits: the scarcest counts, until it is full again."""
        kept = self._of(label)
        if kept is None:
            return
        now_s = self._clock.monotonic_s()
        scarcest, until_s = 1.0, 0.0
        for quota in (rates.requests, rates.tokens, rates.input_tokens, rates.output_tokens):
            left = _share(quota)
            if left is not None and left < scarcest:
                scarcest, until_s = left, now_s + (quota.reset_s or 0.0)
        kept.quota_left, kept.quota_until_s = scarcest, until_s

    def _of(self, label: str) -> _Kept | None:
        kept = self._kept.get(label)
        if kept is None:
            if len(self._kept) >= LABELS_MOST:
                self.left_out += 1
                return None
            kept = self._kept[label] = _Kept()
        return kept


def _share(quota: Quota) -> float | None:
    """Return how much of a quota is left, 0 to 1; None when the vendor did not say."""
    if not quota.limit or quota.remaining is None:
        return None
    return max(min(quota.remaining / quota.limit, 1.0), 0.0)
