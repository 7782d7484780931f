"""G6: what the spine costs now that every feature is compiled in and idle, and what each costs when it is on.

Two processes of the gateway at a time, one with the feature and one without, are asked in turns over real sockets by
the bench's own loads and provider (`tests/bench/{features,turns}`). Two processes that are the same differ by a few µs
(the seed of their hashes, where their memory lies), so each round starts new ones; the first row of the table is a
feature that is nothing, and tells what of the others to believe. The figure is the difference of their CPU, of the
process and all its helpers, with what a request leaves to do afterwards. The idle one is held against what S11 said of
the spine (`docs/evidence/spine`, kept from before the features came). Both were measured on the machine as it was on
its day: the floor, which has none of our code, was measured in both runs, and tells how fast that machine was.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from tests.bench import load, run, turns, whole
from tests.bench.features import FEATURES, Feature
from tests.bench.load import FULL_64
from tests.bench.payload import EVENTS
from tests.bench.peers.base import NotRunnable, Target
from tests.bench.peers.floor import Floor
from tests.bench.peers.penstock_features import Featured
from tests.bench.peers.upstream import UpstreamProcess
from tests.bench.turns import Middle, Pair, middle
from tests.evidence.registry import RECORDS, Bars, Record, Result, Scalar, Table, read_all

ID = "G6"
TITLE = "Features that are idle cost a request nothing, and each that is on what is told here"
MOST_US: Final = 5.0
SPINE: Final = "S11"
OF_THE_SPINE: Final = RECORDS / "spine"
RUNGS: Final = "Where the CPU of a request goes"
WHOLE: Final = "a whole request"
ROUNDS, PAIRS, SECONDS = 2, 2, 1
QUICK_FEATURES: Final = (FEATURES[0], FEATURES[-1])


@dataclass(slots=True, frozen=True)
class Spine:
    """What the spine's record says: a whole request, and the floor, in µs of CPU of its day."""

    commit: str
    date: str
    whole_us: float
    floor_us: float


def produce(quick: bool) -> Result:
    """Measure the floor and every feature, round after round; judge."""
    load.install()
    spine = spine_of(read_all(OF_THE_SPINE))
    seen: dict[str, list[Pair]] = {}
    failed: dict[str, str] = {}
    with UpstreamProcess().running() as upstream:
        floor = _floor_us(upstream)
        for _ in range(1 if quick else ROUNDS):
            for feature in QUICK_FEATURES if quick else FEATURES:
                _visit(feature, upstream, seen, failed)
    if not (idles := idle_us(seen)):
        raise NotRunnable(f"no gateway at its defaults could be measured: {failed}")
    idle = middle(idles)
    faults = judge(idle, spine, seen, failed)
    told = (
        f"idle {idle.at:.1f} ± {idle.error:.1f} µs a request; {SPINE} said {spine.whole_us:.1f} of the spine "
        f"(the floor {spine.floor_us:.1f} then, {spine.commit} of {spine.date}; {floor.at:.1f} now)"
    )
    return Result(
        _figures(idle, floor, spine, seen),
        "met" if not faults else "missed" if idle.at - idle.error > spine.whole_us + MOST_US else "partly",
        "; ".join([*faults, told]),
        (table(seen, streams=False), table(seen, streams=True)),
        (bars(seen, streams=False), bars(seen, streams=True)),
    )


def _floor_us(upstream: Target) -> Middle:
    """Measure the least a Python gateway can do, as the yardstick of this machine now."""
    with Floor(upstream.port).running() as floor:
        found = [turns.turn(floor, upstream, FULL_64, SECONDS) for _ in range(ROUNDS * PAIRS + 1)]
    return middle([turn.window_us for turn in found[1:]])


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


def spine_of(records: Sequence[Record]) -> Spine:
    """Read the spine's record; LookupError where there is none, or no such row."""
    record = next((each for each in records if each.id == SPINE), None)
    if record is None:
        message = f"no record of {SPINE}: run it first"
        raise LookupError(message)
    floor: Any = record.figures[Floor.name]
    rows = {row[0]: row[1] for table in record.tables if table.title == RUNGS for row in table.rows}
    return Spine(record.commit, record.date[:10], float(rows[WHOLE] or 0.0), float(floor["cpu_us"]))


def idle_us(seen: Mapping[str, Sequence[Pair]]) -> list[float]:
    """Return what a request cost in each turn of a gateway that has everything compiled in and nothing on."""
    alike = {feature.name for feature in FEATURES if feature.is_idle_off}
    return [pair.off.window_us for name, found in seen.items() if name in alike for pair in found]


def judge(
    idle: Middle, spine: Spine, seen: Mapping[str, Sequence[Pair]], failed: Mapping[str, str]
) -> list[str]:
    """Return what is not as promised."""
    more_us = idle.at - spine.whole_us
    faults = [f"not measured: {name}: {why}" for name, why in failed.items()]
    if more_us > MOST_US + idle.error:
        faults.append(
            f"an idle request costs {more_us:.1f} µs more than the spine's, at most {MOST_US:g} wanted"
        )
    for name, found in seen.items():
        errors = sum(turn.errors for pair in found for turn in (pair.off, pair.on))
        foreign = middle([turn.foreign_cores for pair in found for turn in (pair.off, pair.on)]).at
        if errors:
            faults.append(f"{name}: {errors:.0f} errors")
        if foreign > run.QUIET_CORES:
            faults.append(f"{name}: others burnt {foreign:.2f} cores")
    return faults


def _figures(
    idle: Middle, floor: Middle, spine: Spine, seen: Mapping[str, Sequence[Pair]]
) -> dict[str, Scalar | dict[str, Scalar]]:
    return {
        "idle_us": round(idle.at, 2),
        "idle_error_us": round(idle.error, 2),
        f"{SPINE.lower()}_us": round(spine.whole_us, 2),
        f"{SPINE.lower()}_commit": spine.commit,
        "idle_python_calls": round(whole.calls(), 1),
        f"{SPINE.lower()}_python_calls": whole.SPINE_CALLS,
        "floor_us": round(floor.at, 2),
        f"floor_of_{SPINE.lower()}_us": round(spine.floor_us, 2),
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
