"""The words the fault suite is written in: what goes wrong, and what must be seen of it.

A `Fault` is one row of the tables; `cases` makes a `Case` of it for every wire and face it is said of. Its `Expect` is
complete: what the caller is told, the ledger's row (attempts, amount, nothing held), the audit event, the breaker. A
row cannot be written without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

WIRES = ("openai", "anthropic", "gemini")
FACES = ("openai", "anthropic", "gemini", "responses")
STREAMING_FACES = (*FACES, "completions", "array")
"""The faces, and the older ways to stream: chat's forerunner, and Gemini's answer as one JSON array."""

FREE = "free"
"""Posted 0, and no estimate."""
EXACT = "exact"
"""Posted what the simulator's books billed for this operation, and no estimate."""
LAST = "last"
"""Posted what the last call is billed in the simulator's books: an error before any content is no bill, though the
simulator counts the prompt; no estimate."""
AS_TOLD = "as told"
"""Posted what the vendor said, though its books say otherwise; no estimate."""
ESTIMATE = "estimate"
"""Posted at least what the simulator's books billed, at most what was held, above 0, and flagged."""


@dataclass(frozen=True)
class Raw:
    """Bytes a vendor sends as they are, whole reply with head; then it closes, hangs, or sends `drip` for ever."""

    data: bytes
    hangs: bool = False
    drip: bytes = b""


Step = str | Raw | Mapping[str, Raw]
"""What one call meets: an order to the simulator ("cut;after=3"), bytes, or bytes by wire."""


@dataclass(frozen=True)
class BackEnd:
    """One back end of the case's route: what its calls meet in turn (the last for ever), or where it is instead."""

    steps: tuple[Step, ...] = ("none",)
    place: str = ""
    """"refused" (nobody listens), "nameless" (no such host); for TLS "plain" (has none), "stranger" (a
    certificate of nobody's), "mute" (never shakes hands)."""


@dataclass(frozen=True)
class Expect:
    """What must be seen of the case's last request."""

    status: int
    outcomes: tuple[str, ...]
    """The ledger's attempts, in order."""
    bill: str | int
    """One of the words above, or exact nano-dollars without an estimate."""
    code: str = ""
    """The typed error the caller is told; "" for a whole answer with its success mark."""
    in_band: bool = False
    """Whether the error came inside a stream that had begun."""
    retry_after_s: int | None = None
    """The header; None when there must be none."""
    error: str = ""
    """The audit event's error."""
    breaker: str = "closed"
    """Of the first back end, afterwards."""
    audited: tuple[str, ...] = ()
    """What became of the calls in the order in which they began, where they ended in another."""
    by: str = ""
    """What stood in for the route's back ends, in header and audit: "other" (a model), "stale", "rule", "canned",
    "later"; "nobody" when the error says that all of it was tried."""


@dataclass(frozen=True)
class Fault:
    """One row. `but` changes what is expected on one wire or face."""

    name: str
    back_ends: tuple[BackEnd, ...]
    expect: Expect
    stream: bool = False
    wires: tuple[str, ...] = WIRES
    faces: tuple[str, ...] = ("openai",)
    hedge: bool = False
    """Whether the route gives a late call a rival."""
    asks: int = 1
    """Requests one after the other; the last is judged."""
    rest_s: float = 0.0
    """Pause before the last request."""
    leaves: str = ""
    """When the caller goes: "early" (once the vendor is asked), "midway" (once content has arrived)."""
    timers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Bounds of the first back end's calls, as provider settings."""
    steps: tuple[str, ...] = ()
    """What the request's feature falls back to; "other" is a model whose back ends are `others`."""
    others: tuple[BackEnd, ...] = ()
    but: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])

    @property
    def places(self) -> tuple[BackEnd, ...]:
        """Return every back end, the route's own first."""
        return (*self.back_ends, *self.others)


@dataclass(frozen=True)
class Case:
    """A fault on one wire, asked for in one dialect."""

    fault: Fault
    wire: str
    face: str

    @property
    def name(self) -> str:
        """Return what tests and the table of evidence call it."""
        return f"{self.fault.name} · {self.wire}" + (f" · {self.face} face" if self.face != "openai" else "")

    @property
    def expect(self) -> Expect:
        """Return what is expected on this wire and face."""
        changes = {**self.fault.but.get(self.wire, {}), **self.fault.but.get(f"{self.face} face", {})}
        return replace(self.fault.expect, **changes)


def cases(faults: Iterable[Fault]) -> list[Case]:
    """Return every fault on each wire and face it is said of."""
    return [Case(fault, wire, face) for fault in faults for wire in fault.wires for face in fault.faces]


def one(*steps: Step, place: str = "") -> tuple[BackEnd, ...]:
    """Return a route of one back end."""
    return (BackEnd(steps or ("none",), place),)


def then_good(*steps: Step, place: str = "") -> tuple[BackEnd, ...]:
    """Return a route of a back end that fails and one that does not."""
    return (*one(*steps, place=place), BackEnd())
