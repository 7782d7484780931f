"""G2: the fault suite, every case on its wires and faces, and one healthy back end of three under load.

Judged by the tables of tests/faults: what the caller is told, the ledger's row, the audit event, the breaker.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.evidence.registry import Bars, Result, Scalar, Table
from tests.faults.case import Case, Fault
from tests.faults.drain import DRAIN_S
from tests.faults.mix import MIXES, Mix, Mixed, mixed, shortfalls
from tests.faults.play import Played, differences, play
from tests.faults.stranger import stranger
from tests.faults.tables import CASES, DRAINED, FAULTS

ID = "G2"
TITLE = (
    "Whatever goes wrong: caller, ledger, audit and breaker as the table says; one healthy back end of three"
)
REQUESTS = 6_000
QUICK_MIXES = 2


async def produce(quick: bool) -> Result:
    """Play every case, then every mix (two of them when `quick`)."""
    with tempfile.TemporaryDirectory(prefix="penstock-g2-") as name:
        folder = Path(name)
        played = [
            (CASES, await play(folder / "running", CASES, stranger(folder))),
            (DRAINED, await play(folder / "draining", DRAINED, drain_s=DRAIN_S)),
        ]
        seen = [
            (mix, await mixed(folder / f"mix-{number}", mix, REQUESTS))
            for number, mix in enumerate(MIXES[:QUICK_MIXES] if quick else MIXES)
        ]
    wrong = {
        case.name: found
        for cases, run in played
        for case in cases
        if (found := differences(case, run.seen[case.name]))
    }
    return _result(played, wrong, seen)


def _result(
    played: list[tuple[list[Case], Played]], wrong: dict[str, list[str]], seen: list[tuple[Mix, Mixed]]
) -> Result:
    faults = [f"{name}: {'; '.join(found)}" for name, found in wrong.items()]
    faults += [problem for _, run in played for problem in run.verdict.problems]
    faults += [f"{run.verdict.held_nanos} nano-dollars held" for _, run in played if run.verdict.held_nanos]
    faults += [what for mix, found in seen for what in shortfalls(mix, found)]
    count = sum(len(cases) for cases, _ in played)
    reason = (
        f"{count} cases of {len(FAULTS)} faults as expected; of three back ends two sick: at least "
        f"{min(found.success for _, found in seen):.2%} of requests succeed; at most "
        f"{max(found.amplification for _, found in seen):.3f} calls for each request"
    )
    figures: dict[str, Scalar | dict[str, Scalar]] = {
        "faults": len(FAULTS),
        "cases": count,
        "cases_as_expected": count - len(wrong),
        "operations_in_the_ledger": sum(run.verdict.operations for _, run in played),
        **{mix.name: _figures(found) for mix, found in seen},
    }
    bars = Bars(
        title="One healthy back end of three: calls for each request",
        unit="calls",
        bars={mix.name: round(found.amplification, 3) for mix, found in seen},
    )
    return Result(
        figures, "missed" if faults else "met", "; ".join(faults) or reason, (_table(wrong),), (bars,)
    )


def _figures(seen: Mixed) -> dict[str, Scalar]:
    return {
        "requests": seen.requests,
        "failed": seen.requests - seen.answered,
        "success_percent": round(seen.success * 100, 2),
        "calls_per_request": round(seen.amplification, 3),
        "posted_nanos": seen.posted_nanos,
        "billed_nanos": seen.billed_nanos,
    }


def _table(wrong: dict[str, list[str]]) -> Table:
    return Table(
        title="Faults, and what is expected of each",
        columns=("fault", "cases", "caller", "ledger: attempts", "posted", "breaker", "as expected"),
        rows=tuple(_row(fault, wrong) for fault in FAULTS),
    )


def _row(fault: Fault, wrong: dict[str, list[str]]) -> tuple[Scalar, ...]:
    expect = fault.expect
    told = f"{expect.status or 'left'} {expect.code}".strip() + (", in-band" if expect.in_band else "")
    if expect.retry_after_s is not None:
        told += f", retry-after {expect.retry_after_s}"
    if expect.by:
        told += f"; {expect.by} stands in"
    cases = len(fault.wires) * len(fault.faces)
    bad = sum(name.partition(" · ")[0] == fault.name for name in wrong)
    posted = expect.bill if isinstance(expect.bill, str) else f"{expect.bill} nano-dollars"
    return (
        fault.name, cases, told, ", ".join(expect.outcomes), posted, expect.breaker, f"{cases - bad} of {cases}"
    )  # fmt: skip
