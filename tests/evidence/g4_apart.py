"""G4: nobody meets what is kept for another; personal data is found, put back whole, and costs so many microseconds.

The cache is asked by three other tenants, by a clock and by the management API. Redaction is judged on labelled texts
of others and of ours, on user questions without personal data and on foreign code, then on the wire: every text goes to
a provider and back as a stream.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests import pii_corpus, pii_measure
from tests.evidence.registry import Bars, Result, Scalar, Table
from tests.kept_apart import Apart, kept_apart
from tests.matrix.counts import Clocked
from tests.put_back import PutBack, put_back

ID = "G4"
TITLE = (
    "Kept answers stay with their tenant; personal data is found, put back across chunks, and what it costs"
)
QUESTIONS = 100
PAIRS = 1_000
AREA_MOST = 0.6
"""How well a clock may tell another tenant's kept question from one nobody keeps: 0.5 is not at all."""
RECALL_LEAST = 0.85
PRECISION_LEAST = {"others' sentences": 0.95, "ours": 0.7}
"""Ours holds look-alikes that nobody could tell, such as the version 12.3.4.5."""
SHOWN = 8


async def produce(quick: bool) -> Result:
    """Try to meet others' answers; look for personal data; send it and read it back; measure."""
    with tempfile.TemporaryDirectory(prefix="penstock-g4-") as name:
        folder = Path(name)
        apart = await kept_apart(folder / "kept", *((10, 60) if quick else (QUESTIONS, PAIRS)))
        texts = [*pii_corpus.sampled(), *pii_corpus.generated(seed=1, rounds=1 if quick else 5)]
        back = await put_back(folder / "back", texts)
    found = pii_measure.found()
    guard = pii_measure.guarded()
    faults = [*_not_apart(apart), *_not_found(found), *_not_back(back)]
    costs = pii_measure.costs()
    reason = (
        f"{apart.asked} questions of others answered anew, no clock tells more than "
        f"{max(abs(each.area - 0.5) for each in apart.clocks) + 0.5:.2f}; {back.texts} texts with "
        f"{back.spans} labelled spans came back as they were sent, {back.told_in_the_clear} spans reached the provider "
        f"in the clear"
    )
    figures: dict[str, Scalar | dict[str, Scalar]] = {
        "asked_by_others": apart.asked,
        "hits_of_others": apart.hits,
        "hits_of_the_owner": apart.own_hits,
        "sent_and_read_back_as_streams": {
            "texts": back.texts,
            "labelled_spans": back.spans,
            "spans_told_in_the_clear": back.told_in_the_clear,
            "leak_rate_percent": round(100 * back.told_in_the_clear / back.spans, 2),
            "texts_changed": back.changed,
            "texts_with_stand_ins": back.stand_ins_seen,
        },
        "guard_against_new_orders": {
            "recall": round(guard[0], 3),
            "precision": round(guard[1], 3),
            "missed": len(guard[2]),
            "false_alarms": len(guard[3]),
        },
        "names_of_people": "found only with a named-entity model installed; none is, and none is claimed",
    }
    bars = Bars(
        title="Redaction: microseconds per KB of text",
        unit="µs",
        bars={name: round(p50, 1) for name, (p50, _) in costs.items()},
    )
    return Result(
        figures,
        "missed" if faults else "met",
        "; ".join(faults) or reason,
        _tables(apart, found, costs),
        (bars,),
    )


def _not_apart(apart: Apart) -> list[str]:
    faults = [
        f"{each.what}: told apart, area {each.area:.2f}" for each in apart.clocks if each.tells(AREA_MOST)
    ]
    if not apart.own_clock.tells(AREA_MOST):
        faults.append(f"the clock does not tell the owner's own hits: area {apart.own_clock.area:.2f}")
    if apart.hits:
        faults.append(f"{apart.hits} of {apart.asked} questions of others met a kept answer")
    if apart.own_hits * 3 != apart.asked:
        faults.append(f"the owner met {apart.own_hits} of its own answers")
    return [*faults, *apart.told[:SHOWN], *apart.probed[:SHOWN]]


def _not_found(found: dict[str, list[tuple[str, int, float, float, str]]]) -> list[str]:
    return [
        f"{entity} in {name}: recall {recall:.3f}, precision {precision:.3f}"
        for name, rows in found.items()
        for entity, _, recall, precision, _ in rows
        if recall < RECALL_LEAST or precision < PRECISION_LEAST[name]
    ]


def _not_back(back: PutBack) -> list[str]:
    faults = []
    if back.changed:
        faults.append(f"{back.changed} of {back.texts} texts came back otherwise than they were sent")
    if back.stand_ins_seen:
        faults.append(f"{back.stand_ins_seen} callers saw stand-ins")
    return faults


def _tables(
    apart: Apart,
    found: dict[str, list[tuple[str, int, float, float, str]]],
    costs: dict[str, tuple[float, float]],
) -> tuple[Table, ...]:
    clocks = (*apart.clocks, apart.own_clock)
    return (
        Table(
            title="A clock held to others' entries (area 0.5: tells nothing), and to one's own",
            columns=("who asks", "pairs", "kept, median µs", "kept by nobody, median µs", "area"),
            rows=tuple(_clock_row(each) for each in clocks),
        ),
        *[
            Table(
                title=f"Personal data found: {name}",
                columns=("entity", "spans", "recall", "precision", "false findings"),
                rows=tuple(
                    (entity, spans, round(recall, 3), round(precision, 3), false or "none")
                    for entity, spans, recall, precision, false in rows
                ),
            )
            for name, rows in found.items()
        ],
        Table(
            title="What redaction costs",
            columns=("step", "µs per KB, p50", "µs per KB, p95"),
            rows=tuple((name, round(p50, 1), round(p95, 1)) for name, (p50, p95) in costs.items()),
        ),
    )


def _clock_row(each: Clocked) -> tuple[Scalar, ...]:
    return (
        each.what.partition(":")[0],
        each.pairs,
        round(each.first_us),
        round(each.second_us),
        round(each.area, 3),
    )
