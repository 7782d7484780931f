"""What is asked of a store: the two queries with their filters, groups and pages. Pure, and one for both adapters.

Values never enter the text of a query: they are numbered ``$1``, ``$2``, … in it (SQLite writes ``?1``). The names that
do enter it are columns known here. Text is equal and ordered as its UTF-8, byte by byte, in both stores.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Final

import msgspec

from penstock.adapters.traces.batches import NAMES, TIME_MOST_S, check_text, check_times, event_of
from penstock.kernel.errors import Invalid
from penstock.ports.traces import (
    DAY_S,
    DIMENSIONS,
    GROUPED_MOST,
    PAGE_MOST,
    TOTALS_MOST,
    Total,
    TraceFilter,
    TracePage,
)

AFTER_MOST: Final = 1_024
"""Characters of an `after`; ours take fewer."""
SUMS: Final = (
    "sum(requests)",
    "sum(requests) FILTER (WHERE outcome = 'failed')",
    "sum(requests) FILTER (WHERE outcome = 'refused')",
    "sum(estimated)",
    "sum(input_tokens)",
    "sum(cached_tokens)",
    "sum(output_tokens)",
    "sum(cost_nanos)",
    "sum(latency_ms)",
)
"""What is added up, in the order of `Total`."""


class Sql:
    """The queries, with blanks for their filters and groups."""

    find = "SELECT body FROM traces_events WHERE {where} ORDER BY at_s DESC, id DESC LIMIT {limit}"
    before = "(at_s, id) < ({at_s}, {id})"
    totals = (
        "SELECT {groups}{sums} FROM traces_totals WHERE {where} {grouping} ORDER BY {order} LIMIT {limit}"
    )
    dearest = "sum(cost_nanos) DESC"
    named = '"{name}" = {value}'
    since = "{column} >= {time}"
    until = "{column} < {time}"


class Question(msgspec.Struct, frozen=True):
    """A query, and the values that are numbered in it."""

    text: str
    bindings: list[str | float]


class _Bindings(list[str | float]):
    def add(self, value: str | float) -> str:
        """Bind one more value and return its number."""
        self.append(value)
        return f"${len(self)}"


def find(wanted: TraceFilter, after: str, limit: int) -> Question:
    """Return the query for a page of events and the first of the next one. Raises Invalid."""
    if not 1 <= limit <= PAGE_MOST:
        raise Invalid("A page is out of bounds.", field="limit", value=limit, limit=f"1 to {PAGE_MOST}")
    bindings = _Bindings()
    terms = _terms(wanted, "at_s", bindings)
    if after:
        at_s, id_ = _place(after)
        terms.append(Sql.before.format(at_s=bindings.add(at_s), id=bindings.add(id_)))
    text = Sql.find.format(where=" AND ".join(terms) or "TRUE", limit=bindings.add(limit + 1))
    return Question(text, bindings)


def page_of(bodies: Sequence[bytes], limit: int) -> TracePage:
    """Return the page that such a query found."""
    events = tuple(map(event_of, bodies[:limit]))
    more = len(bodies) > limit
    return TracePage(events=events, after=_after(events[-1].at_s, events[-1].request_id) if more else "")


def totals(wanted: TraceFilter, by: Sequence[str]) -> Question:
    """Return the query for totals. Raises Invalid for dimensions that there are not, or too many."""
    if len(by) > GROUPED_MOST or not set(by) <= set(DIMENSIONS):
        limit = f"at most {GROUPED_MOST} of {', '.join(DIMENSIONS)}"
        raise Invalid("Totals cannot be grouped by this.", field="by", value=", ".join(by), limit=limit)
    bindings = _Bindings()
    terms = _terms(wanted, "hour_s", bindings)
    numbers = [str(number) for number in range(1, len(by) + 1)]
    text = Sql.totals.format(
        groups="".join(f"{_group(dimension)}, " for dimension in by),
        sums=", ".join(f"coalesce({added}, 0)" for added in SUMS),
        where=" AND ".join(terms) or "TRUE",
        grouping=f"GROUP BY {', '.join(numbers)}" if by else "",
        order=", ".join([Sql.dearest, *numbers]),
        limit=bindings.add(TOTALS_MOST),
    )
    return Question(text, bindings)


def total_of(row: Sequence[str | bytes | int]) -> Total:
    """Return the total that one row of such a query is."""
    group, sums = row[: -len(SUMS)], row[-len(SUMS) :]
    named = zip(Total.__struct_fields__[1:], map(int, sums), strict=True)
    return Total(group=tuple(map(_text, group)), **dict(named))


def _terms(wanted: TraceFilter, column: str, bindings: _Bindings) -> list[str]:
    """Return what must hold of a row, and bind its values."""
    terms: list[str] = []
    for name in NAMES:
        if value := getattr(wanted, name):
            check_text(name, value, least=1)
            terms.append(Sql.named.format(name=name, value=bindings.add(value)))
    for bound, time_s in ((Sql.since, wanted.since_s), (Sql.until, wanted.until_s)):
        check_times(time_s)
        if time_s:
            # Hours start at whole seconds, so a bound between two of them is the same as the later one.
            whole = math.ceil(time_s) if column == "hour_s" else float(time_s)
            terms.append(bound.format(column=column, time=bindings.add(whole)))
    return terms


def _group(dimension: str) -> str:
    if dimension == "hour":
        return "hour_s"
    return f"hour_s - hour_s % {DAY_S}" if dimension == "day" else f'"{dimension}"'


def _text(value: str | bytes | int) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _after(at_s: float, id_: str) -> str:
    """Return the `after` of an event: its place in the order, as text that fits into a URL."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode((float(at_s), id_))).rstrip(b"=").decode()


def _place(after: str) -> tuple[float, str]:
    """Return the place that an `after` tells. Raises Invalid for one that `_after` never made."""
    try:
        packed = base64.b64decode(after[:AFTER_MOST] + "=" * (-len(after) % 4), altchars=b"-_", validate=True)
        at_s, id_ = msgspec.msgpack.decode(packed, type=tuple[float, str])
    except (ValueError, msgspec.DecodeError):
        at_s, id_ = math.nan, ""
    if not 0 <= at_s <= TIME_MOST_S or _after(at_s, id_) != after:
        raise Invalid("This page does not follow any of ours.", field="after", value=after[:80])
    return at_s, id_
