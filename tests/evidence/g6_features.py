"""G6: what the spine costs now that every feature is compiled in and idle, and what each costs when it is on.

Two processes of the gateway at a time, one with the feature and one without, are asked in turns over real sockets by
the bench's own loads and provider (`tests/bench/{features,turns}`). Two processes that are the same differ by a few µs
(the seed of their hashes, where their memory lies), so each round starts new ones; the first row of the table is a
feature that is nothing, and tells what of the others to believe. The figure is the difference of their CPU, of the
process and all its helpers, with what a request leaves to do afterwards. The idle one is asked in turns with the spine
itself, served from the repository's history (`tests/bench/peers/penstock_spine`): whatever the machine is like today,
it is so for both.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from tests.bench import load, run, turns, whole
from tests.bench.features import FEATURES, Feature
from tests.bench.load import FULL_64
from tests.bench.payload import EVENTS
from tests.bench.peers.base import NotRunnable, Target
from tests.bench.peers.penstock import Penstock
from tests.bench.peers.penstock_features import Featured
from tests.bench.peers.penstock_spine import COMMIT, Spine
from tests.bench.peers.upstream import UpstreamProcess
from tests.bench.turns import Middle, Pair, Turn, middle
from tests.evidence.registry import Bars, Result, Scalar, Table

ID = "G6"
TITLE = "Features that are idle cost a request nothing, and each that is on what is told here"
MOST_US: Final = 5.0
ROUNDS, PAIRS, SECONDS = 2, 2, 1
SPINE_ROUNDS, SPINE_PAIRS = 5, 4
QUICK_FEATURES: Final = (FEATURES[0], FEATURES[-1])


def produce(quick: bool) -> Result:
    """Measure what is idle beside the spine, and every feature, round after round; judge."""
    load.install()
    seen: dict[str, list[Pair]] = {}
    failed: dict[str, str] = {}
    with UpstreamProcess().running() as upstream:
        beside = [pair for _ in range(1 if quick else SPINE_ROUNDS) for pair in _beside_the_spine(upstream)]
        for _ in range(1 if quick else ROUNDS):
            for feature in QUICK_FEATURES if quick else FEATURES:
                _visit(feature, upstream, seen, failed)
    more_us = middle([pair.more_us for pair in beside])
    spine, idle = (middle([turn.whole_us for turn in side]) for side in sides(beside))
    faults = judge(more_us, beside, seen, failed)
    told = (
        f"an idle request costs {more_us} µs more than the spine's ({COMMIT[:12]}), asked in turns: "
        f"{idle.at:.1f} and {spine.at:.1f} in the middle"
    )
    return Result(
        _figures(more_us, beside, seen),
        "met" if not faults else "missed" if more_us.at - more_us.error > MOST_US else "partly",
        "; ".join([*faults, told]),
        (table(seen, streams=False), table(seen, streams=True)),
        (bars(seen, streams=False), bars(seen, streams=True)),
    )


def _beside_the_spine(upstream: Target) -> list[Pair]:
    """Start the spine, and what it has become with nothing on, and ask them in turns."""
    with ExitStack() as up:
        off = up.enter_context(Spine(upstream.port).running())
        on = up.enter_context(Penstock(upstream.port).running())
        found = turns.pairs(off, on, upstream, FULL_64, count=SPINE_PAIRS, seconds=SECONDS)
    print(f"beside the spine: {middle([pair.more_us for pair in found])}", file=sys.stderr, flush=True)
    return found


def _visit(feature: Feature, upstream: Target, seen: dict[str, list[Pair]], failed: dict[str, str]) -> None:
    """Measure a feature once more, unless it failed before."""
    name = feature.name
    if name in failed:
        return
    try:
        found = seen.setdefault(name, [])
        found += _measured(feature, upstream)
        print(f"{name}: {middle([pair.more_us for pair in found])}", file=sys.stderr, flush=True)
    except (NotRunnable, load.LoadFailed) as error:
        failed[name] = str(error)
        del seen[name]
        print(f"{name}: {error}", file=sys.stderr, flush=True)


def _measured(feature: Feature, upstream: Target) -> list[Pair]:
    """Start the gateway with and without, and ask them in turns."""
    with ExitStack() as up:
        off, on = (
            up.enter_context(Featured(upstream.port, feature, is_on=is_on).running())
            for is_on in (False, True)
        )
        return turns.pairs(off, on, upstream, feature.load, count=PAIRS, seconds=SECONDS)


def sides(found: Sequence[Pair]) -> tuple[list[Turn], list[Turn]]:
    """Return the turns of the one and of the other."""
    return [pair.off for pair in found], [pair.on for pair in found]


def judge(
    more_us: Middle, beside: Sequence[Pair], seen: Mapping[str, Sequence[Pair]], failed: Mapping[str, str]
) -> list[str]:
    """Return what is not as promised; `more_us` is what idle costs more than the spine, in the pairs `beside`."""
    faults = [f"not measured: {name}: {why}" for name, why in failed.items()]
    if more_us.at > MOST_US + more_us.error:
        faults.append(
            f"an idle request costs {more_us.at:.1f} µs more than the spine's, at most {MOST_US:g} wanted"
        )
    for name, found in {"beside the spine": beside, **seen}.items():
        errors = sum(turn.errors for pair in found for turn in (pair.off, pair.on))
        foreign = middle([turn.foreign_cores for pair in found for turn in (pair.off, pair.on)]).at
        if errors:
            faults.append(f"{name}: {errors:.0f} errors")
        if foreign > run.QUIET_CORES:
            faults.append(f"{name}: others burnt {foreign:.2f} cores")
    return faults


def _figures(
    more_us: Middle, beside: Sequence[Pair], seen: Mapping[str, Sequence[Pair]]
) -> dict[str, Scalar | dict[str, Scalar]]:
    spine, idle = (middle([turn.whole_us for turn in side]) for side in sides(beside))
    return {
        "more_than_the_spine_us": round(more_us.at, 2),
        "more_than_the_spine_error_us": round(more_us.error, 2),
        "idle_us": round(idle.at, 2),
        "spine_us": round(spine.at, 2),
        "spine_commit": COMMIT[:12],
        "times_the_spine": round(idle.at / spine.at, 3),
        "idle_requests_per_s": round(middle([pair.on.per_s for pair in beside]).at),
        "spine_requests_per_s": round(middle([pair.off.per_s for pair in beside]).at),
        "idle_python_calls": round(whole.calls(), 1),
        "spine_python_calls": whole.SPINE_CALLS,
        "pairs_us": {
            name: ", ".join(f"{pair.more_us:+.1f}" for pair in found) for name, found in seen.items()
        },
    }


def table(seen: Mapping[str, Sequence[Pair]], *, streams: bool) -> Table:
    """One row per feature that was measured: CPU of an answer with and without, the difference and its error."""
    parts = EVENTS if streams else 1
    rows = [(feature, seen[feature.name]) for feature in FEATURES if feature.name in seen]
    what = "chunk" if streams else "request"
    return Table(
        title=f"What a feature costs a {what}, µs of CPU" + (" (a stream has 66)" if streams else ""),
        columns=("on", "without", "with", "difference", "± error", "requests/s with"),
        rows=tuple(
            (
                feature.name,
                round(middle([pair.off.whole_us / parts for pair in found]).at, 2),
                round(middle([pair.on.whole_us / parts for pair in found]).at, 2),
                *more(found, parts),
                round(middle([pair.on.per_s for pair in found]).at),
            )
            for feature, found in rows
            if feature.load.stream is streams
        ),
    )


def more(found: Sequence[Pair], parts: int = 1) -> tuple[float, float]:
    """Return the difference per request, or per each of its `parts`, and its error."""
    told = middle([pair.more_us / parts for pair in found])
    return round(told.at, 2), round(told.error, 2)


def bars(seen: Mapping[str, Sequence[Pair]], *, streams: bool) -> Bars:
    """The differences as bars; none where it is not larger than its error."""
    rows = table(seen, streams=streams).rows
    differences = {str(row[0]): (float(row[3] or 0), float(row[4] or 0)) for row in rows}
    return Bars(
        title=f"What a feature costs a {'chunk' if streams else 'request'}",
        unit="µs of CPU; 0 is not more than its error",
        bars={name: at if abs(at) > error else 0.0 for name, (at, error) in differences.items()},
        ours=tuple(differences),
    )
