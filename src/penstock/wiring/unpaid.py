"""What a model in this machine does for a key and no vendor bills: the key's limits hold for it all the same.

Promises: a request's place, and the tokens that are to be read at most, are taken before anything is computed; the
place and the tokens that were not read are given back whatever comes of it. No money is held.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from penstock.gateway.admission import Admission
from penstock.gateway.ask import Ask
from penstock.gateway.oneshot import OneShot, Words
from penstock.kernel.clock import Clock
from penstock.kernel.context import Principal, RequestContext
from penstock.kernel.ids import new_id
from penstock.mechanisms.redaction.texts import Texts

R = TypeVar("R")

UNPAID_S: Final = 60.0


def _no_words(_request: object) -> Texts:
    return Texts(())


def _not_said(request: R, _texts: Sequence[str]) -> R:
    return request


NO_WORDS: Final[Words[Any]] = Words(_no_words, _not_said)
"""Of a request that is read in this machine alone: nothing of it is let out, and no vendor bounds it."""


@dataclass(slots=True)
class Read:
    """What was read in the end, for whoever took more to say so."""

    tokens: int = 0


class Unpaid:
    """Lets in what is not paid for. One per process."""

    def __init__(self, admission: Admission, clock: Clock) -> None:
        """Take limits from `admission`."""
        self._admission = admission
        self._clock = clock

    @asynccontextmanager
    async def reading(self, principal: Principal, model: str, tokens: int) -> AsyncGenerator[Read]:
        """Take a place and up to `tokens` of a key that may use `model`; those not read are given back. Raises
        Rejected.
        """
        deadline_s = self._clock.monotonic_s() + UNPAID_S
        context = RequestContext(new_id("req_"), principal, deadline_s=deadline_s, received_ns=0)
        envelope: OneShot[None] = OneShot(None, b"", NO_WORDS, model=model, inputs=0)
        seat = await self._admission.admit_unpaid(context, Ask(envelope, 0, 0), (), tokens=tokens)
        read = Read()
        try:
            yield read
        finally:
            await self._admission.give_back(seat, tokens - read.tokens)
