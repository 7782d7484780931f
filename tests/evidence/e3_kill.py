"""E3: kill -9 of the gateway while documents are ingested and while a model changes, and what searches saw.

Two tenants write new versions, delete and search over HTTP all the time, each gateway lives for a random while, every
other one while the collection's model changes to another and back (`tests/fleet/knowledge` says what is looked for).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.evidence.registry import Result, Scalar, Table
from tests.fleet.knowledge import Tally
from tests.fleet.knowledge_drill import drill

ID = "E3"
TITLE = "50 kills during ingest and during a change of model: no half document, nobody else's, no mixed space"
KILLS, QUICK_KILLS = 50, 6


async def produce(quick: bool) -> Result:
    """Run the drill."""
    with tempfile.TemporaryDirectory(prefix="penstock-e3-") as folder:
        tally = await drill(Path(folder), QUICK_KILLS if quick else KILLS)
    missed = faults(tally)
    reason = "; ".join(missed) or (
        f"{tally.kills} kills, {tally.kills_in_migration} of them while a space was being built; {tally.searches} "
        f"searches looked at, every one whole and its own; {sum(tally.jobs.values())} jobs ended, all complete and "
        f"counted; {tally.rows} rows, of every space, as a rebuild at once makes them"
    )
    return Result(
        figures(tally), "missed" if missed else "met", reason, (_table(tally),) if tally.broken else ()
    )


def faults(tally: Tally) -> list[str]:
    """Return every promise that the drill saw broken, and what kept it from looking."""
    found = [f"{len(tally.broken)} promises broken, the first: {tally.broken[0]}"] if tally.broken else []
    if not tally.kills_in_migration:
        found.append("no kill fell into a change of model")
    if len(tally.spaces) < 2:
        found.append("no change of model was seen by a search")
    return found


def figures(tally: Tally) -> dict[str, Scalar | dict[str, Scalar]]:
    """Return the drill's figures by name."""
    return {
        "kills": tally.kills,
        "kills_while_a_space_was_built": tally.kills_in_migration,
        "searches_looked_at": tally.searches,
        "calls_cut_off": tally.cut_off,
        "documents_taken": tally.documents_taken,
        "documents_deleted": tally.documents_deleted,
        "changes_of_model_begun": tally.migrations,
        "spaces_searched": len(tally.spaces),
        "promises_broken": len(tally.broken),
        "jobs_by_status": {**tally.jobs},
        "rows_compared_with_a_rebuild": tally.rows,
        "start_max_s": round(tally.start_max_s, 2),
        "first_search_answered_max_s": round(tally.resume_max_s, 2),
        "seconds": round(tally.seconds, 1),
    }


def _table(tally: Tally) -> Table:
    return Table(
        title="What was broken", columns=("what",), rows=tuple([(each,) for each in tally.broken[:20]])
    )
