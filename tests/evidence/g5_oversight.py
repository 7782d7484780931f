"""G5: alerts that reach somebody, an audit that adds up without its sink, and a day of a million records asked about.

One alert of each kind is caused on a whole platform, posted to a receiver that checks its signature, and shown by the
API; the audit's sink is down for a minute of load; the lake answers six questions about a day.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast

from tests.alarms import RULES, Fired, alarms
from tests.evidence.registry import Bars, Result, Scalar, Table
from tests.lake_drills import day
from tests.sink_down import Balance, sink_down

ID = "G5"
TITLE = "Every kind of alert told and shown; the audit adds up while its sink is down; a day of a million records asked"
RECORDS = 1_000_000
QUICK_RECORDS = 50_000
DOWN_S = 60.0
QUICK_DOWN_S = 5.0
ANSWER_S = 1.0
ALARM_S = 100.0
"""Totals are looked at once a minute, and told within seconds."""
CALM_S = 60.0


async def produce(quick: bool) -> Result:
    """Ring, shut the sink, and ask."""
    with tempfile.TemporaryDirectory(prefix="penstock-g5-") as name:
        folder = Path(name)
        async with alarms(folder / "alarms") as them:
            fired = await them.ring(ALARM_S)
            is_over = await them.calm(CALM_S)
            refused = len(them.receiver.refused)
        balance = await sink_down(folder / "sink", QUICK_DOWN_S if quick else DOWN_S)
        (folder / "lake").mkdir()
        lake = await day(folder / "lake", QUICK_RECORDS if quick else RECORDS)
    faults = [*_of_alerts(fired, refused, is_over=is_over), *_of_sums(balance), *_of_answers(lake)]
    return Result(
        _figures(fired, balance, lake),
        "missed" if faults else "met",
        "; ".join(faults) or _reason(fired, balance, lake),
        (_alerts(fired), _answers(lake)),
        (
            Bars(
                title="A question about a day of a million records",
                unit="s",
                bars={what: worst for what, (_, worst) in _timed(lake, "merged_s").items()},
            ),
        ),
    )


def _of_alerts(fired: list[Fired], refused: int, *, is_over: bool) -> list[str]:
    found = [f"{each.rule} was not delivered" for each in fired if not each.times]
    found += [f"{each.rule} was delivered {each.times} times" for each in fired if each.times > 1]
    found += [
        f"{each.rule} is not shown as it was told" for each in fired if each.times and not each.is_shown
    ]
    found += [f"{refused} messages without a valid signature"] if refused else []
    return found if is_over else [*found, "the end of an outage was not told"]


def _of_sums(seen: Balance) -> list[str]:
    checks = {
        f"produced {seen.produced} is not delivered {seen.delivered}, dropped {seen.dropped}, queued {seen.queued}": (
            seen.produced != seen.delivered + seen.dropped + seen.queued
        ),
        f"{seen.unequal} of {seen.looks} looks found another sum": seen.unequal,
        f"{seen.produced} records of {seen.answered} requests": seen.produced != seen.answered,
        f"{seen.in_stream} records in the stream, {seen.delivered} delivered": seen.in_stream
        != seen.delivered,
        f"{seen.in_stream_twice} records in the stream twice": seen.in_stream_twice,
        "the metrics say otherwise": not seen.told,
    }
    return [what for what, is_wrong in checks.items() if is_wrong]


def _of_answers(lake: dict[str, object]) -> list[str]:
    return [
        f"{what}, {state}: {worst} s"
        for state in ("small_files_s", "merged_s")
        for what, (_, worst) in _timed(lake, state).items()
        if worst >= ANSWER_S
    ]


def _reason(fired: list[Fired], seen: Balance, lake: dict[str, object]) -> str:
    slowest = max(
        worst for _, worst in (*_timed(lake, "merged_s").values(), *_timed(lake, "small_files_s").values())
    )
    return (
        f"{len(fired)} kinds of alert, each told once and signed; without a sink for {seen.down_s:.0f} s "
        f"{seen.produced} = {seen.delivered} delivered + {seen.dropped} dropped + {seen.queued} queued, in "
        f"{seen.looks} looks; {lake['records']} records asked within {slowest:.2f} s"
    )


def _figures(
    fired: list[Fired], seen: Balance, lake: dict[str, object]
) -> dict[str, Scalar | dict[str, Scalar]]:
    return {
        "alerts_of": len(RULES),
        "alerts_delivered": sum(bool(each.times) for each in fired),
        "alerts_shown": sum(each.is_shown for each in fired),
        "sink_down": {
            "down_s": round(seen.down_s, 1),
            "requests_answered": seen.answered,
            "slowest_request_s": round(seen.slowest_s, 3),
            "produced": seen.produced,
            "delivered": seen.delivered,
            "dropped": seen.dropped,
            "queued_most": seen.queued_most,
            "looks": seen.looks,
        },
        "lake": {
            name: cast("Scalar", value) for name, value in lake.items() if isinstance(value, int | float)
        },
    }


def _timed(lake: dict[str, object], state: str) -> dict[str, tuple[float, float]]:
    return cast("dict[str, Any]", lake[state])


def _alerts(fired: list[Fired]) -> Table:
    rows = tuple([(each.rule, each.subject, each.text, round(each.after_s, 1), each.times) for each in fired])
    columns = ("rule", "about", "told", "seconds after its cause", "times")
    return Table(title="One alert of each kind, as the receiver had it", columns=columns, rows=rows)


def _answers(lake: dict[str, object]) -> Table:
    merged = _timed(lake, "merged_s")
    rows = tuple([(what, *times, *merged[what]) for what, times in _timed(lake, "small_files_s").items()])
    columns = ("question", "as it came, median s", "worst s", "merged, median s", "worst s")
    return Table(title="Questions about one day, each by a fresh helper process", columns=columns, rows=rows)
