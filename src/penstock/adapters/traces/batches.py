"""What a batch becomes in a store: rows of events and of totals. Pure: both adapters check and translate here.

Promises: every bound that ports/traces.py sets to a batch is checked here, for both adapters alike, before anything is
written; deltas of one hour and the same names are one row; rows come in one order for every batch, so that two of them
wait for each other rather than deadlock.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from penstock.kernel.errors import Invalid
from penstock.kernel.events import RequestEvent
from penstock.ports.traces import (
    DELTAS_MOST,
    DIMENSIONS,
    EVENTS_MOST,
    FIGURE_MOST,
    HOUR_S,
    TEXT_BYTES,
    Batch,
    Delta,
)

NAMES: Final = DIMENSIONS[2:]
"""The names of a request that are filtered and grouped by, as columns of both tables, in the order of `Delta`."""
TIME_MOST_S: Final = float(1 << 53)

Row = tuple[str | float | bytes, ...]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(RequestEvent).decode


class Prepared(msgspec.Struct, frozen=True):
    """A batch as rows, column by column as the tables have them.

    An event is its id, `at_s`, the names and its body, in the order of ids. A total is `hour_s`, a digest, the names
    and the figures, in the order of the first two, its key: the names themselves are too long for one.
    """

    events: list[Row]
    totals: list[Row]


def prepared(batch: Batch) -> Prepared:
    """Return the rows of a batch. Raises Invalid when anything in it is out of bounds."""
    check_text("id", batch.id, least=1)
    _check_time(batch.at_s)
    for field, given, most in (("events", batch.events, EVENTS_MOST), ("deltas", batch.deltas, DELTAS_MOST)):
        if len(given) > most:
            raise Invalid("A batch is out of bounds.", field=field, value=len(given), limit=most)
    try:
        return Prepared(sorted(map(_event_row, batch.events)), _total_rows(batch.deltas))
    except (UnicodeEncodeError, OverflowError) as error:
        raise Invalid(f"This cannot be kept: {error}.", field="batch", value=batch.id) from None


def event_of(body: bytes) -> RequestEvent:
    """Return the event that a row holds."""
    return _decode(body)


def may_be_kept(request_id: str) -> bool:
    """Tell whether an event of this id could have been added."""
    try:
        check_text("request_id", request_id, least=1)
    except Invalid:
        return False
    return True


def check_times(*times_s: float) -> None:
    """Raise Invalid unless each is a number of seconds since 1970, before or after."""
    for time_s in times_s:
        if not abs(time_s) <= TIME_MOST_S:  # false for what is not a number, too
            raise Invalid("A time is out of bounds.", field="time", value=time_s, limit=TIME_MOST_S)


def check_text(field: str, text: str, *, least: int) -> None:
    """Raise Invalid unless `text` takes `least` to `TEXT_BYTES` bytes of UTF-8."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise Invalid("This is not text: a lone surrogate has no UTF-8.", field=field) from None
    if not least <= size <= TEXT_BYTES:
        limit = f"{least} to {TEXT_BYTES} bytes"
        raise Invalid("This text is out of bounds.", field=field, value=size, limit=limit)


def _event_row(event: RequestEvent) -> Row:
    if not event.request_id:
        raise Invalid("An event needs its request's id.", field="events.request_id")
    _check_time(event.at_s)
    names = (
        event.request_id,
        event.org,
        event.team,
        event.project,
        event.user,
        event.key_id,
        event.feature,
        event.model_served,
        event.provider,
    )
    _check_names(names)
    return (names[0], float(event.at_s), *names[1:], event.outcome, _encode(event))


def _total_rows(deltas: Sequence[Delta]) -> list[Row]:
    """Return one row for each hour and names, their figures added up."""
    sums: dict[tuple[int, bytes], tuple[tuple[str, ...], list[int]]] = {}
    for delta in deltas:
        hour_s, *rest = msgspec.structs.astuple(delta)
        names, figures = tuple(rest[: len(NAMES)]), rest[len(NAMES) :]
        _check_names(names)
        if hour_s % HOUR_S or not 0 <= hour_s <= TIME_MOST_S:
            raise Invalid("This is no start of an hour.", field="deltas.hour_s", value=hour_s)
        if min(figures) < 0:
            raise Invalid("A total never shrinks.", field="deltas", value=min(figures), limit=0)
        key = (hour_s, blake2b(_encode(names), digest_size=16).digest())
        if key in sums:
            figures = [one + other for one, other in zip(sums[key][1], figures, strict=True)]
        if max(figures) > FIGURE_MOST:
            raise Invalid("A total is out of bounds.", field="deltas", value=max(figures), limit=FIGURE_MOST)
        sums[key] = (names, figures)
    return [(*key, *names, *figures) for key, (names, figures) in sorted(sums.items())]


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        # A character takes four bytes at most: nearly every name is short enough at a glance.
        if len(name) > TEXT_BYTES // 4:
            check_text("name", name, least=0)


def _check_time(at_s: float) -> None:
    check_times(at_s)
    if at_s < 0:
        raise Invalid("Nothing ended before 1970.", field="at_s", value=at_s, limit=0)
