"""S6: Redis and PostgreSQL, each stopped, killed, frozen, slowed, black-holed and cut off under load.

Judged as specified: without Redis rate limits fail open and budgets stay exact; without PostgreSQL paid requests are
refused with 503 in bounded time and what was under way is written when it is back; both tell an alert metric within
5 s; afterwards the books equal the provider's truth.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.evidence.registry import Result, Scalar, Table
from tests.fleet.outages import HARMS, Cell, drill

ID = "S6"
TITLE = (
    "Redis and PostgreSQL stopped, killed, frozen, slowed, black-holed, cut: specified behaviour, exact books"
)
QUICK = (("redis", "frozen"), ("redis", "killed"), ("postgres", "killed"), ("postgres", "blackholed"))
ALARM_LIMIT_S = 5.0
BACK_LIMIT_S = 10.0
REDIS_LIMIT_S = 1.0
"""The longest any request may take while Redis is ill: it is waited for 50 ms at most, three times."""
POSTGRES_LIMIT_S = 10.0
"""The longest any request may take while PostgreSQL is ill."""


async def produce(quick: bool) -> Result:
    """Run every cell, or four of them."""
    cells = list(QUICK) if quick else [(engine, harm) for engine in ("redis", "postgres") for harm in HARMS]
    with tempfile.TemporaryDirectory(prefix="penstock-s6-") as folder:
        seen = await drill(Path(folder), cells, during_s=6.0)
    found = [f"{cell.engine} {cell.harm}: {what}" for cell in seen for what in faults(cell)]
    return Result(
        {f"{cell.engine} {cell.harm}": figures(cell) for cell in seen},
        "missed" if found else "met",
        "; ".join(found)
        or f"{len(seen)} harms, {sum(cell.billed for cell in seen)} operations billed: each exactly once in the books; "
        f"the alarm came within {max(cell.alarm_s for cell in seen):.1f} s",
        (table(seen),),
    )


def faults(cell: Cell) -> list[str]:
    """Return what is not as specified."""
    own = _redis_faults(cell) if cell.engine == "redis" else _postgres_faults(cell)
    checks = {
        "operations billed and not in the books": cell.missing,
        "operations settled twice": cell.twice,
        "operations whose exact amount is not the provider's": cell.unequal,
        "operations still held": cell.still_held,
        "problems of the ledger": len(cell.problems),
        "answers under way when it began that were cut": cell.crossing_cut,
        "requests without rate limits after everything was back": cell.after_unlimited,
        "requests that failed after everything was back": cell.after_failed,
    }
    found = own + [f"{count} {what}" for what, count in checks.items() if count]
    back_s = (cell.back_good_s, cell.back_metric_s, cell.back_ready_s)
    if min(back_s) < 0 or max(back_s) > BACK_LIMIT_S:
        found.append(f"back after {back_s} s (good reply, metric, ready)")
    if cell.during == 0:
        found.append("no request was made meanwhile")
    return found


def _redis_faults(cell: Cell) -> list[str]:
    found = []
    if cell.during_good != cell.during:
        found.append(
            f"{cell.during - cell.during_good} of {cell.during} requests did not pass: {_others(cell)}"
        )
    if cell.during_max_s > REDIS_LIMIT_S:
        found.append(f"a request took {cell.during_max_s:.2f} s")
    if not 0 <= cell.alarm_s <= ALARM_LIMIT_S:
        found.append(f"the alarm came after {cell.alarm_s:.1f} s")
    return found


def _postgres_faults(cell: Cell) -> list[str]:
    found = []
    if cell.during_max_s > POSTGRES_LIMIT_S:
        found.append(f"a request took {cell.during_max_s:.2f} s")
    if cell.during_good + cell.during_refused != cell.during:
        found.append(f"requests ended otherwise than well or with 503: {_others(cell)}")
    if cell.harm.startswith("slowed"):
        return found
    if cell.during_refused == 0:
        found.append("nothing was refused")
    for what, after_s in (("alarm", cell.alarm_s), ("not ready", cell.not_ready_s)):
        if not 0 <= after_s <= ALARM_LIMIT_S:
            found.append(f"{what} after {after_s:.1f} s")
    return found


def _others(cell: Cell) -> str:
    said = {"503": cell.during_refused, **cell.during_other}
    return ", ".join(f"{count} × {what}" for what, count in said.items() if count)


def figures(cell: Cell) -> dict[str, Scalar]:
    """Return a cell's figures by name."""
    return {
        "under_way_when_it_began": cell.crossing,
        "of_these_cut": cell.crossing_cut,
        "requests_meanwhile": cell.during,
        "answered": cell.during_good,
        "refused_503": cell.during_refused,
        "otherwise": sum(cell.during_other.values()),
        "p99_before_ms": round(cell.before_p99_s * 1000, 1),
        "p50_meanwhile_ms": round(cell.during_p50_s * 1000, 1),
        "p99_meanwhile_ms": round(cell.during_p99_s * 1000, 1),
        "longest_ms": round(cell.during_max_s * 1000, 1),
        "alarm_s": round(cell.alarm_s, 2),
        "not_ready_s": round(cell.not_ready_s, 2),
        "back_s": round(max(cell.back_good_s, cell.back_metric_s, cell.back_ready_s), 2),
        "operations_billed": cell.billed,
        "missing": cell.missing,
        "twice": cell.twice,
        "unequal": cell.unequal,
        "estimated": cell.estimated,
        "still_held": cell.still_held,
    }


def table(seen: list[Cell]) -> Table:
    """One row for each cell."""
    names = tuple(figures(seen[0]))
    rows = tuple((f"{cell.engine} {cell.harm}", *figures(cell).values()) for cell in seen)
    return Table(title="By harm", columns=("harm", *[name.replace("_", " ") for name in names]), rows=rows)
