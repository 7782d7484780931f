"""S7: whatever is sent, by a client or by a provider, the gateway answers with a reason, stays up and keeps its books.

HTTP and JSON go to a whole platform over real sockets; recorded streams go through the gateway's reader cut at every
position; hostile providers stream into a gateway process whose peak memory the kernel tells.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.evidence.registry import Result, Scalar, Table
from tests.fleet.caller import Caller
from tests.hostile_run import Judged, hostile_providers
from tests.raw_http import ALIVE, TABLE, Replies, exchange, mutations
from tests.recorded import streams
from tests.relayed import Outcome, relay
from tests.stage import Stage, stage
from tests.support import run
from tests.wrong_json import KINDS, LARGE, bodies

ID = "S7"
TITLE = "Fuzzed HTTP, JSON and SSE: 4xx with a reason, never 5xx, never a hang, nothing held"

SEED = 20_261_120
CALLERS = 16
HANG_S = 5.0
FAULTS_SHOWN = 8


@dataclass(slots=True)
class Seen:
    """What one kind of fuzzing met."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter[int])
    faults: list[str] = field(default_factory=list[str])
    slowest_ms: float = 0.0

    def fault(self, what: str) -> None:
        """Note a broken promise; a few are enough to read."""
        if len(self.faults) < 100:
            self.faults.append(what[:300])


# ---------------------------------------------------------------------------------------------------------- HTTP


async def http_table(it: Stage, seen: Seen) -> None:
    """Send every form of the table: one 4xx with a reason, then the end of the connection."""
    for name, raw in TABLE:
        replies = await exchange(it.platform.port, raw, HANG_S)
        seen.sent += 1
        seen.statuses.update(replies.statuses)
        fine = len(replies.statuses) == 1 and 400 <= replies.statuses[0] < 500 and replies.reason
        if replies.hung or not fine or ALIVE in replies.raw:
            seen.fault(f"{name}: {replies.statuses} {'hung' if replies.hung else replies.reason}")


async def http_mutations(it: Stage, token: str, count: int, seen: Seen) -> None:
    """Send mutated requests from several sockets at once: no 5xx, no refusal without a reason, no hang."""
    source = mutations(SEED, token)

    async def sender() -> None:
        while seen.sent < count + len(TABLE):
            seen.sent += 1
            raw = next(source)
            replies = await exchange(it.platform.port, raw, HANG_S)
            seen.statuses.update(replies.statuses)
            if fault := _mutation_fault(replies):
                seen.fault(f"{fault}: {raw!r}")

    await asyncio.gather(*[sender() for _ in range(CALLERS)])


def _mutation_fault(replies: Replies) -> str:
    if replies.hung:
        return "hung"
    if any(status >= 500 for status in replies.statuses):
        return f"answered {replies.statuses}"
    refused = [status for status in replies.statuses if status >= 400]
    return "refused without a reason" if refused and replies.statuses[0] >= 400 and not replies.reason else ""


# ---------------------------------------------------------------------------------------------------------- JSON


async def json_bodies(it: Stage, token: str, count: int, seen: Seen) -> Counter[str]:
    """Send bodies that are no chat request: 4xx with a reason. Returns how many of each kind."""
    source: Iterator[tuple[str, bytes]] = itertools.islice(bodies(SEED), count)
    kinds: Counter[str] = Counter()

    async def sender() -> None:
        caller = Caller(it.platform.port, token, timeout_s=HANG_S)
        for kind, body in source:
            reply = await caller.chat(body)
            seen.sent += 1
            kinds[kind] += 1
            seen.statuses[reply.status] += 1
            seen.slowest_ms = max(seen.slowest_ms, reply.seconds * 1000)
            if not 400 <= reply.status < 500 or not reply.error.get("message"):
                seen.fault(f"{kind}: {reply.status} {reply.failure} {reply.body[:100]!r} for {body[:120]!r}")
        await caller.close()

    await asyncio.gather(*[sender() for _ in range(CALLERS)])
    return kinds


async def served(folder: Path, mutated: int, wrong: int) -> tuple[Seen, Seen, Counter[str], str]:
    """Fuzz one platform with HTTP and JSON; the last item says what is left in its books, "" for nothing."""
    http, json_ = Seen(), Seen()
    async with stage(folder) as it:
        caller = await it.caller()
        await http_table(it, http)
        await http_mutations(it, caller.token, mutated, http)
        kinds = await json_bodies(it, caller.token, wrong, json_)
        rows = await it.platform.stores.ledger.balance(prefix="org:", limit=1000)
        held = sum(row.held_nanos for row in rows)
        verdict = await it.platform.stores.ledger.verify()
        stats = it.platform.server.stats
        left = {
            "nano-dollars held": held,
            "operations pending": verdict.pending,
            "problems in the books": len(verdict.problems),
            "handlers that broke": stats.failed,
            "requests in flight": stats.in_flight,
            "requests that reached the provider": len(it.simulator.truth.rows()),
        }
    return http, json_, kinds, "; ".join(f"{count} {what}" for what, count in left.items() if count)


# ----------------------------------------------------------------------------------------------------------- SSE


def split_streams(pairs: int, every: int = 1) -> Seen:
    """Cut every recorded stream at every position (or each `every`-th), byte by byte, and at random pairs."""
    seen = Seen()
    draw = random.Random(SEED)
    for name, raw in streams().items():
        whole = relay([raw])
        complete = relay([raw[at : at + 1] for at in range(len(raw))])
        if _differs(whole, complete, complete):
            seen.fault(f"{name}: byte by byte it reads otherwise")
        cuts = [[at] for at in range(0, len(raw) + 1, every)]
        cuts += [sorted(draw.sample(range(len(raw) + 1), 2)) for _ in range(pairs)]
        for cut in cuts:
            got = relay([raw[a:b] for a, b in itertools.pairwise([0, *cut, len(raw)])])
            if _differs(got, whole, complete):
                seen.fault(f"{name} cut at {cut}: {got[1:]} instead of {whole[1:]}")
        seen.sent += len(cuts) + 1
    return seen


def _differs(got: Outcome, whole: Outcome, complete: Outcome) -> bool:
    """Compare. A stream that fails before anything left is tried elsewhere: all up to there leaves, or nothing."""
    if got[1:] != whole[1:]:
        return True
    return got[0] != complete[0] and not (got[2] and not got[0])


# ------------------------------------------------------------------------------------------------------- verdict


def produce(quick: bool) -> Result:
    """Fuzz with 100,000 bodies and 20,000 mutations (quick: 4,000 and 800)."""
    mutated, wrong, pairs, flood_mib, comments = (
        (800, 4_000, 20, 16, 50_000) if quick else (20_000, 100_000, 500, 256, 1_000_000)
    )
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="penstock-s7-") as folder:
        http, json_, kinds, left = run(served(Path(folder) / "a", mutated, wrong), ceiling_s=900)
        split = split_streams(pairs, every=5 if quick else 1)
        judged = run(hostile_providers(Path(folder) / "b", flood_mib, comments), ceiling_s=600)
    faults = [
        *http.faults,
        *json_.faults,
        *split.faults,
        *[f"{j.name}: {j.fault}" for j in judged if j.fault],
    ]
    if left:
        faults.insert(0, f"left behind: {left}")
    if missing := (set(KINDS) | set(LARGE)) - set(kinds):
        faults.append(f"kinds never sent: {', '.join(sorted(missing))}")
    figures: dict[str, Scalar | dict[str, Scalar]] = {
        "http_forms": len(TABLE),
        "http_mutations": http.sent - len(TABLE),
        "http_statuses": {str(status): count for status, count in sorted(http.statuses.items())},
        "json_bodies": json_.sent,
        "json_statuses": {str(status): count for status, count in sorted(json_.statuses.items())},
        "json_slowest_ms": round(json_.slowest_ms, 1),
        "recorded_streams": len(streams()),
        "split_positions": split.sent,
        "hostile_providers": len(judged),
        "hostile_peak_growth_kib": max(j.growth_kib for j in judged),
        "left_behind": left or "nothing",
        "faults": len(faults),
        "fuzzing_s": round(time.monotonic() - began, 1),
    }
    return Result(
        figures,
        "missed" if faults else "met",
        "; ".join(faults[:FAULTS_SHOWN])
        or f"{http.sent + json_.sent:,} wrong requests refused with a reason, {split.sent:,} cuts read alike",
        tables=(
            _hostile_table(judged),
            Table(title="Wrong bodies", columns=("kind", "sent"), rows=tuple(kinds.items())),
        ),
    )


def _hostile_table(judged: list[Judged]) -> Table:
    return Table(
        title="Hostile providers",
        columns=("provider", "ends", "posted_nanos", "estimated", "peak growth_kib", "fault"),
        rows=tuple((j.name, j.ended, j.posted_nanos, j.estimated, j.growth_kib, j.fault) for j in judged),
    )
