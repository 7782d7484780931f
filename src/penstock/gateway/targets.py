"""What can be called: a provider as routing sees it, and one of its models as a back end of a route."""

from __future__ import annotations

import math
import re

import msgspec

from penstock.kernel.context import Scope
from penstock.kernel.money import Price
from penstock.ports.providers import CallTimers, ChatProvider

_UNFIT_FOR_HEADERS = re.compile(r"[^ -~]")


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A provider as routing sees it: who calls it, which models it serves, how long it may take, where it runs."""

    provider: ChatProvider
    models: tuple[str, ...]
    timers: CallTimers = CallTimers()
    region: str = ""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One back end of a route, with today's price pinned."""

    provider: ChatProvider
    model: str
    price: Price
    weight: int
    timers: CallTimers
    label: str
    """The back end's own name, ``provider/model``: what its breaker and its load are kept under."""
    limit_name: str
    """The member this provider reads its answer limit from."""
    headers: bytes
    """Reply headers that say why the request went here, rendered once."""
    arm: str = ""
    """"production" or "canary" of a route that has a canary, else ""."""
    region: str = ""
    hedge: bool = False
    """Whether a call to it may get a rival when it is late."""
    resume: bool = False
    """Whether another may go on with an answer of it that breaks off."""
    limited: Scope | None = None
    """What limits its public name for each organisation; None where nothing does."""

    @property
    def route(self) -> str:
        """Return what the audit calls it: the label, and ``#arm`` where the route has a canary."""
        return f"{self.label}#{self.arm}" if self.arm else self.label

    def because(self, why: tuple[str, ...]) -> Target:
        """Return this target with reply headers that tell `why` it was chosen."""
        told = "; ".join((self.route, *why))
        return msgspec.structs.replace(self, headers=route_header(told))

    def rival(self) -> Target:
        """Return this target as the second of two that are asked at one time."""
        return msgspec.structs.replace(self, headers=self.headers.removesuffix(b"\r\n") + b"; hedged\r\n")

    def within(self, left_s: float) -> CallTimers:
        """Return the timers of a call that must end in `left_s` seconds, rounded up to a whole one."""
        timers = self.timers
        if timers.total_s <= left_s:
            return timers
        whole_s = max(math.ceil(left_s), 1)
        return timers if timers.total_s <= whole_s else msgspec.structs.replace(timers, total_s=whole_s)


def route_header(told: str) -> bytes:
    """Return the reply header that explains a choice; what a header cannot hold becomes a question mark."""
    return b"x-penstock-route: %b\r\n" % _UNFIT_FOR_HEADERS.sub("?", told).encode()
