"""How busy, how quick and how well each back end is, as routing may know it at the moment of choosing.

Promises: a reading is a plain value, so a choice made from one can be repeated; a back end nobody has heard of reads as
idle, well and unmeasured; a label costs one small record, and there are at most `LABELS_MOST` of them (the rest reads
as unknown, `left_out` counts them). Latency is an exponentially weighted mean (weight 1/8, as RFC 6298 smooths
round trips).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from penstock.mechanisms.quotas import Quotas
from penstock.ports.providers import ChatReplyStream, ProviderFailure

SMOOTHING: Final = 0.125
LABELS_MOST: Final = 4_096


class Reading(NamedTuple):
    """A back end at one moment. `first_token_ms` 0 is not measured; `scarce`: its vendor's limit is nearly used up."""

    well: bool = True
    in_flight: int = 0
    first_token_ms: float = 0.0
    scarce: bool = False


class Load(Protocol):
    """Whoever knows how back ends are."""

    def reading(self, label: str, /) -> Reading:
        """Return how a back end is now."""
        ...

    @property
    def any_scarce(self) -> bool:
        """Whether any back end may be `scarce`."""
        ...


UNKNOWN: Final = Reading()


class Idle:
    """Knows nothing: every back end is idle and well."""

    any_scarce = False

    def reading(self, _label: str, /) -> Reading:
        """Return that nothing is known."""
        return UNKNOWN


class Deaf:
    """Hears of calls and keeps nothing."""

    def began(self, _label: str, _tokens: int, /) -> None:
        """Do nothing."""

    def answered(self, _label: str, _reply: ChatReplyStream, /) -> None:
        """Do nothing."""

    def refused(self, _label: str, _failure: ProviderFailure, /) -> None:
        """Do nothing."""

    def first_token(self, _label: str, _after_ms: float, /) -> None:
        """Do nothing."""

    def ended(self, _label: str, /) -> None:
        """Do nothing."""


class _Kept:
    __slots__ = ("first_token_ms", "in_flight")

    def __init__(self) -> None:
        self.in_flight = 0
        self.first_token_ms = 0.0


class Loads:
    """Load as this process sees it. `well(label)` asks the breaker; `quotas` hears what vendors tell of theirs."""

    def __init__(self, well: Callable[[str], bool], quotas: Quotas) -> None:
        """Start without any back end."""
        self._well = well
        self.quotas = quotas
        self._kept: dict[str, _Kept] = {}
        self.left_out = 0

    @property
    def any_scarce(self) -> bool:
        """Whether any back end may be near its vendor's limit."""
        return self.quotas.any_near

    def reading(self, label: str, /) -> Reading:
        """Return how a back end is now."""
        kept = self._kept.get(label)
        if kept is None:
            return Reading(self._well(label), scarce=self.quotas.is_near(label))
        return Reading(self._well(label), kept.in_flight, kept.first_token_ms, self.quotas.is_near(label))

    def began(self, label: str, tokens: int) -> None:
        """Note that a call of so many input tokens begins."""
        kept = self._kept.get(label) or self._of(label)
        if kept is not None:
            kept.in_flight += 1
        self.quotas.called(label, tokens)

    def answered(self, label: str, reply: ChatReplyStream) -> None:
        """Note what a vendor tells of its limits with an answer; not with every one, if there are many."""
        if self.quotas.listens(label):
            rates = getattr(reply, "rates", None)
            if rates is not None:
                self.quotas.told(label, rates, getattr(reply, "key", ""))

    def refused(self, label: str, failure: ProviderFailure) -> None:
        """Note what a vendor tells of its limits with a refusal."""
        if failure.rates is not None:
            self.quotas.told(label, failure.rates, failure.key)

    def first_token(self, label: str, after_ms: float) -> None:
        """Note how long the first token took, in milliseconds."""
        kept = self._kept.get(label) or self._of(label)
        if kept is not None:
            known = kept.first_token_ms
            kept.first_token_ms = after_ms if not known else known + SMOOTHING * (after_ms - known)

    def ended(self, label: str) -> None:
        """Note that a call has ended, however."""
        kept = self._kept.get(label)
        if kept is not None and kept.in_flight:
            kept.in_flight -= 1

    def _of(self, label: str) -> _Kept | None:
        """Return what is kept of a label from now on, None when too many are."""
        if len(self._kept) >= LABELS_MOST:
            self.left_out += 1
            return None
        kept = self._kept[label] = _Kept()
        return kept
