"""Invoices against our own lines: what agrees, what only one side has, and what differs, to the nano-dollar. Pure.

Promises: every line of either side is in exactly one result, so that the results add up to both sides' totals; lines
meet by vendor, day and model, and where both sides name the call by its reference too. A vendor's name of a model may
carry the date of its version; ours may not: they meet by the name without it. Within the tolerance two lines agree.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from penstock.mechanisms.reconcile.invoices import InvoiceLine

PPM: Final = 1_000_000
_DATED: Final = re.compile(r"[-@](?:\d{4}-\d\d-\d\d|\d{8})$")

Status = Literal["matched", "price", "usage", "cost", "duplicate", "ours_only", "theirs_only"]
"""Agrees; same tokens at another price; other tokens; another cost for reasons the invoice does not tell; billed again
under the same reference; only one side has it.
"""
Key = tuple[str, str, str, str]
"""Vendor, day, model without a date, reference."""


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """How far apart two amounts may be and agree: the larger of `nanos` and `ppm` millionths of theirs."""

    nanos: int = 1_000
    ppm: int = 10

    def holds(self, ours: int, theirs: int) -> bool:
        """Tell whether two amounts agree."""
        return abs(ours - theirs) <= max(self.nanos, abs(theirs) * self.ppm // PPM)


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A line of ours, of theirs, or both together."""

    status: Status
    vendor: str
    day: str
    model: str
    reference: str
    ours_nanos: int
    theirs_nanos: int

    @property
    def difference_nanos(self) -> int:
        """Return what they bill more than we settled."""
        return self.theirs_nanos - self.ours_nanos


class Reconciled(msgspec.Struct, frozen=True, kw_only=True):
    """Everything compared, and what it comes to."""

    lines: tuple[Compared, ...]
    ours_nanos: int
    theirs_nanos: int
    counts: Mapping[Status, int]

    @property
    def difference_nanos(self) -> int:
        """Return what they bill more than we settled."""
        return self.theirs_nanos - self.ours_nanos

    @property
    def agrees(self) -> bool:
        """Whether every line does."""
        return set(self.counts) <= {"matched"}


class _Sum:
    """Lines of one side with the same key."""

    __slots__ = ("cost", "input", "output")

    def __init__(self) -> None:
        self.cost = 0
        self.input: int | None = 0
        self.output: int | None = 0

    def add(self, line: InvoiceLine) -> None:
        self.cost += line.cost_nanos
        self.input = None if self.input is None or line.input_tokens < 0 else self.input + line.input_tokens
        self.output = (
            None if self.output is None or line.output_tokens < 0 else self.output + line.output_tokens
        )


def reconciled(
    ours: Iterable[InvoiceLine], theirs: Iterable[InvoiceLine], tolerance: Tolerance | None = None
) -> Reconciled:
    """Compare two sides. Lines without a reference are added up by model and day first."""
    tolerance = tolerance or Tolerance()
    our_sums, our_repeats = _summed(ours)
    their_sums, their_repeats = _summed(theirs)
    lines: list[Compared] = []
    for key in sorted(our_sums.keys() | their_sums.keys()):
        mine, yours = our_sums.get(key), their_sums.get(key)
        status = _status(mine, yours, tolerance)
        lines.append(_compared(status, key, mine.cost if mine else 0, yours.cost if yours else 0))
    lines += [_compared("duplicate", key, 0, cost) for key, cost in their_repeats]
    lines += [_compared("duplicate", key, cost, 0) for key, cost in our_repeats]
    return Reconciled(
        lines=tuple(lines),
        ours_nanos=sum(line.ours_nanos for line in lines),
        theirs_nanos=sum(line.theirs_nanos for line in lines),
        counts=dict(Counter(line.status for line in lines)),
    )


def stem(model: str) -> str:
    """Return a model's name without the date of its version."""
    return _DATED.sub("", model)


def _summed(lines: Iterable[InvoiceLine]) -> tuple[dict[Key, _Sum], list[tuple[Key, int]]]:
    """Return one side by key, and what is there again under a reference."""
    sums: dict[Key, _Sum] = {}
    repeats: list[tuple[Key, int]] = []
    for line in lines:
        key = (line.vendor, line.day, stem(line.model), line.reference)
        if line.reference and key in sums:
            repeats.append((key, line.cost_nanos))
        else:
            sums.setdefault(key, _Sum()).add(line)
    return sums, repeats


def _status(ours: _Sum | None, theirs: _Sum | None, tolerance: Tolerance) -> Status:
    if theirs is None:
        return "ours_only"
    if ours is None:
        return "theirs_only"
    if tolerance.holds(ours.cost, theirs.cost):
        return "matched"
    if None in {ours.input, ours.output, theirs.input, theirs.output}:
        return "cost"
    return "price" if (ours.input, ours.output) == (theirs.input, theirs.output) else "usage"


def _compared(status: Status, key: Key, ours: int, theirs: int) -> Compared:
    vendor, day, model, reference = key
    return Compared(
        status=status,
        vendor=vendor,
        day=day,
        model=model,
        reference=reference,
        ours_nanos=ours,
        theirs_nanos=theirs,
    )
