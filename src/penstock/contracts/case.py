"""A contract: plain async cases, each naming the port promises it checks, run on any adapter.

The case never sleeps and never reads a clock: time belongs to the `Harness`, which moves a manual clock (embedded) or
waits for real (a shared engine). A case that finds a promise broken raises `BrokenPromise` with the figures. One that
needs a harm which its harness cannot do raises `NotTried` with that harm: such a case is neither kept nor broken, and
whoever runs it says so apart. A case never just returns before it has looked.

    CASES = Contract("state")

    @CASES.case(1, 3)
    async def a_full_bucket_refuses(h: Harness[State]) -> None:
        ...
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from penstock.kernel.ids import new_id

P = TypeVar("P")
T = TypeVar("T")

CUT_OFF: Final = "cut the store off"
SET_CLOCK: Final = "set the wall clock"


class BrokenPromise(AssertionError):
    """An adapter does not keep a promise of its port."""


class NotTried(Exception):
    """This harness cannot do the harm that a case needs, so the case tells nothing about the adapter.

    Its text is the harm, and completes "the harness cannot …": ``cut the store off``.
    """


@dataclass(slots=True)
class Harness(Generic[P]):
    """What a case may use: the port under test, time, a second handle on the same store, and fresh names.

    `advance(seconds)` lets time pass. `reopen()` closes the adapter as a crash would leave it and opens the same
    store again. `peer()` opens a second, concurrent handle on the same store (another process's view); an engine
    that is single-process by design returns the same handle and says so in `single_process`.
    """

    port: P
    advance: Callable[[float], Awaitable[None]]
    reopen: Callable[[], Awaitable[P]]
    peer: Callable[[], Awaitable[P]]
    single_process: bool = False
    unique: str = field(default_factory=lambda: new_id("t"))

    def name(self, stem: str) -> str:
        """Return a name no other case uses, so that suites may share one store (a live deployment included)."""
        return f"{stem}-{self.unique}"


Case = Callable[[Harness[P]], Awaitable[None]]


@dataclass(slots=True)
class Contract(Generic[P]):
    """The cases of one port, in the order they were written."""

    port: str
    cases: list[tuple[str, tuple[int, ...], Case[P]]] = field(
        default_factory=list[tuple[str, tuple[int, ...], Case[P]]]
    )

    def case(self, *promises: int) -> Callable[[Case[P]], Case[P]]:
        """Register a case as the check of the port's numbered `promises`."""

        def register(case: Case[P]) -> Case[P]:
            self.cases.append((getattr(case, "__name__", "case"), promises, case))
            return case

        return register


def expect(held: object, promise: str, **figures: object) -> None:
    """Raise BrokenPromise naming `promise` and the `figures` unless `held` is true."""
    if not held:
        seen = ", ".join(f"{name}={value!r}" for name, value in figures.items())
        raise BrokenPromise(f"{promise} ({seen})" if seen else promise)


def needs(able: T | None, harm: str) -> T:
    """Return what does the `harm` (or looks at its effect); raise NotTried when the harness has nothing that does.

    A case that can do a part without it does that part first, so that what is broken there is still found.
    """
    if able is None:
        raise NotTried(harm)
    return able


async def expect_error(kind: type[BaseException], work: Awaitable[object], promise: str) -> BaseException:
    """Await `work`, which must raise `kind`; return the error, or raise BrokenPromise."""
    try:
        value = await work
    except kind as error:
        return error
    raise BrokenPromise(f"{promise} (no {kind.__name__}; got {value!r})")
