"""What the simulated provider says it billed, by operation (the `x-request-id` it was called with)."""

from __future__ import annotations

import msgspec

from penstock.simulator.truth import PAGE_ROWS, Summary, TruthRow
from tests.fleet.caller import Caller
from tests.fleet.config import CHEAP, Prices
from tests.fleet.load import until

QUIET_S = 30.0


class Page(msgspec.Struct):
    """A page of closed rows."""

    rows: list[TruthRow]
    next: int


class Billed(msgspec.Struct):
    """An operation at the provider: how often it was billed there and for how much."""

    calls: int = 0
    cost_nanos: int = 0


class Truth:
    """Reads the truth of one simulated provider, each row once."""

    def __init__(self, port: int, prices: Prices = CHEAP) -> None:
        """Ask 127.0.0.1:`port`; cost is reckoned by `prices`, which the gateways are configured with."""
        self._caller = Caller(port)
        self._prices = prices
        self._after = 0
        self.billed: dict[str, Billed] = {}
        """By operation, everything read so far."""

    async def quiet(self) -> None:
        """Wait until the provider has nothing under way; TimeoutError past `QUIET_S`."""

        async def is_quiet() -> bool:
            return (await self.summary()).in_flight == 0

        await until(is_quiet, QUIET_S)

    async def summary(self) -> Summary:
        """Return the totals."""
        return msgspec.json.decode((await self._caller.get("/truth/summary")).body, type=Summary)

    async def read(self) -> dict[str, Billed]:
        """Read the rows closed since the last call; returns `billed`."""
        while True:
            reply = await self._caller.get(f"/truth?after={self._after}&limit={PAGE_ROWS}")
            page = msgspec.json.decode(reply.body, type=Page)
            for row in page.rows:
                if row.billed:
                    entry = self.billed.setdefault(row.operation, Billed())
                    entry.calls += 1
                    entry.cost_nanos += self._prices.cost_nanos(row.input_tokens, row.output_tokens)
            if not page.rows:
                return self.billed
            self._after = page.next

    async def close(self) -> None:
        """Hang up."""
        await self._caller.close()
