"""What wiring needs of an adapter beyond its port: that it can be closed, and asked how it is."""

from __future__ import annotations

from typing import Protocol

from penstock.ports.cache import Cache
from penstock.ports.index import Index
from penstock.ports.ledger import Ledger, SettlesInBackground
from penstock.ports.records import Records
from penstock.ports.signals import Signals
from penstock.ports.state import State
from penstock.ports.stream import Stream
from penstock.ports.traces import Traces


class Kept(Protocol):
    """Something opened, which is closed at the end and can be asked how it is."""

    async def close(self) -> None:
        """Finish what is under way, within a bound, and let everything go."""
        ...

    async def healthy(self) -> bool:
        """Ask the engine whether it works."""
        ...


class BookedLedger(Ledger, SettlesInBackground, Protocol):
    """A ledger as wiring holds it."""

    async def close(self) -> None:
        """Settle what is known, within a bound, and let everything go."""
        ...

    def healthy(self) -> bool:
        """Tell whether holds are being accepted."""
        ...

    def stats(self) -> dict[str, int]:
        """Return counters for the metrics."""
        ...


class KeptStream(Stream, Kept, Protocol):
    """A stream as wiring holds it."""


class KeptRecords(Records, Kept, Protocol):
    """Records as wiring holds them."""


class KeptState(State, Kept, Protocol):
    """The shared state as wiring holds it."""


class KeptCache(Cache, Kept, Protocol):
    """A cache as wiring holds it."""


class KeptIndex(Index, Kept, Protocol):
    """An index as wiring holds it."""


class KeptSignals(Signals, Kept, Protocol):
    """Signals as wiring holds them."""


class KeptTraces(Traces, Kept, Protocol):
    """Traces as wiring holds them."""
