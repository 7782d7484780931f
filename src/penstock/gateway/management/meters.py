"""How full the rate limits of an organisation are: those of the callers seen today, asked of the state without taking.

Promises: one question to the state per reading, about at most `ASKED_MOST` limits, latest callers first; nothing is
taken; what the state cannot tell is left out.
"""

from __future__ import annotations

from typing import Final

from penstock.gateway.management.pressures import Meter
from penstock.kernel.errors import Unavailable
from penstock.mechanisms.limits import MINUTE_S, Plans
from penstock.ports.state import Ask, State

ASKED_MOST: Final = 200
LOOKED_AT: Final = 2_000


class Meters:
    """Reads the limits of `plans` in `state`."""

    def __init__(self, plans: Plans, state: State) -> None:
        """Read without taking."""
        self._plans = plans
        self._state = state

    async def read(self, org: str) -> list[Meter]:
        """Return the limits of an organisation that are in use."""
        asks = self._asks(org)
        if not asks:
            return []
        try:
            left = (await self._state.peek(list(asks))).remaining
        except Unavailable:
            return []
        return [
            Meter(path=path, name=name, used=ask.limit - remaining, limit=ask.limit)
            for (ask, (path, name)), remaining in zip(asks.items(), left, strict=True)
            if remaining < ask.limit
        ]

    def _asks(self, org: str) -> dict[Ask, tuple[str, str]]:
        """Return what to ask: each limit once, with the path that it limits and its name."""
        asks: dict[Ask, tuple[str, str]] = {}
        for plan in reversed(self._plans.seen()[-LOOKED_AT:]):
            if plan.principal.org != org:
                continue
            tokens = (Ask(key, kind, limit, MINUTE_S) for key, kind, limit, _ in plan.token_asks)
            for ask, name in zip((*plan.asks, *tokens), plan.names, strict=True):
                if len(asks) >= ASKED_MOST:
                    return asks
                asks[ask] = (ask.key.split("|")[1], name)
        return asks
