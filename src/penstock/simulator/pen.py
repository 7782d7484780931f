"""What a simulated answer is written with: one pen for each wire, and how each tells (or does not tell) its usage."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from penstock.kernel.money import Usage
from penstock.simulator.answers import Answer

HUGE_BYTES = 2 * 1024 * 1024
REFUSALS = frozenset(
    {"rate_limit", "rate_limit_no_hint", "quota", "spend_limit", "server_error", "overloaded"}
)
"""Misbehaviours that are an HTTP status and a body."""
_TOLD = {
    "usage_missing": "missing",
    "usage_twice": "twice",
    "usage_late": "late",
    "usage_wrong": "wrong",
}


def told_of(kind: str) -> str:
    """Return how a misbehaviour tells usage: "usage" (once, in time), "missing", "twice", "late" or "wrong"."""
    return _TOLD.get(kind, "usage")


class Pen(Protocol):
    """Writes one answer in the words of its wire. Made for one request, used from its head to its end."""

    def refusal(self, kind: str, seconds: float) -> tuple[int, bytes, bytes]:
        """Return status, header lines and body of one of `REFUSALS`; `seconds` is the hint of "rate_limit"."""
        ...

    def headers(self, *, streamed: bool) -> bytes:
        """Return the header lines of an answer."""
        ...

    def whole(self, answers: tuple[Answer, ...], usage: Usage | None) -> bytes:
        """Return a whole reply, without usage when it is None."""
        ...

    def whole_error(self) -> bytes:
        """Return the body of an error that comes with status 200."""
        ...

    def events(self, index: int, answer: Answer) -> Iterator[tuple[bytes, int]]:
        """Yield the events of one choice up to its finish, each with the tokens it carries."""
        ...

    def finish(self, index: int, answer: Answer) -> bytes:
        """Return the event that finishes one choice."""
        ...

    def broken(self) -> bytes:
        """Return an event whose JSON stops in the middle."""
        ...

    def huge(self) -> bytes:
        """Return one event of text, `HUGE_BYTES` long."""
        ...

    def error(self) -> bytes:
        """Return the event of a vendor that gives up in the middle."""
        ...

    def end(self, usage: Usage | None) -> tuple[bytes, bytes]:
        """Return what ends a stream, and what comes after its end; `usage` None when none is told."""
        ...


def half(usage: Usage) -> Usage:
    """Return what is told first where usage is told twice."""
    return Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens // 2)
