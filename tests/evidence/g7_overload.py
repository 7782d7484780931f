"""G7: three times what the gateway can do, by the clock: how much of its peak is left, for whom, at what a refusal.

The gateway is the product's own process on one core; load and provider have the other (`tests/bench/overload`). Answers
are streams of 64 chunks, the least that is like a model's answer; whole answers of 600 bytes, beside whose cost a
refusal weighs most, are measured too and told, and so is the same gateway with nobody at the door.
"""

from __future__ import annotations

from tests.bench.overload import FULL, QUICK, TIMES, Helpless, Seen, Shedding, measure, refusal_us
from tests.evidence.registry import Bars, Result, Scalar, Table

ID = "G7"
TITLE = "At three times its capacity the gateway serves at least 90 % of its peak, the urgent first"
GOODPUT_LEAST = 0.9
CRITICAL_LEAST = 0.99
LOW_MOST = 0.05


def produce(quick: bool) -> Result:
    """Measure streams and whole answers with the door, and streams without it."""
    plan = QUICK if quick else FULL
    streams = measure(Shedding, stream=True, plan=plan)
    whole = measure(Shedding, stream=False, plan=plan)
    helpless = measure(Helpless, stream=True, times=TIMES[-1:], plan=plan)
    flood, missed = streams[-1], shortfalls(streams)
    reason = (
        f"of the peak {share(streams, -1):.0%} at three times the capacity, {share(streams, -2):.0%} at twice; "
        f"of critical requests {flood.served('critical'):.1%} served, of low ones {flood.served('low'):.1%}; "
        f"a refusal costs {refusal_us(streams[0], flood):.0f} µs; nobody at the door: {share(helpless, -1):.0%}. "
        f"Whole answers, of {request_us(whole[0]):.0f} µs beside {refusal_us(whole[0], whole[-1]):.0f} for a refusal: "
        f"{share(whole, -1):.0%}"
    )
    rows = [*_rows("streams", streams), *_rows("whole answers", whole), *_rows("streams, no door", helpless)]
    return Result(
        {
            "streams": _figures(streams),
            "whole answers": _figures(whole),
            "streams, no door": _figures(helpless),
        },
        "missed" if missed else "met",
        "; ".join([*missed, reason]),
        (_table(rows),),
        (_bars(streams, helpless),),
    )


def shortfalls(seen: list[Seen]) -> list[str]:
    """Return what was promised of the highest loads and not seen."""
    flood = seen[-1]
    wrong = [
        f"{share(seen, at):.0%} of the peak at {TIMES[at]} times the capacity, wanted {GOODPUT_LEAST:.0%}"
        for at in (-2, -1)
        if share(seen, at) < GOODPUT_LEAST
    ]
    if flood.served("critical") < CRITICAL_LEAST:
        wrong.append(
            f"{flood.served('critical'):.1%} of critical requests served, wanted {CRITICAL_LEAST:.0%}"
        )
    if flood.served("low") > LOW_MOST:
        wrong.append(f"{flood.served('low'):.1%} of low requests served, wanted at most {LOW_MOST:.0%}")
    return wrong


def share(seen: list[Seen], at: int) -> float:
    """Return the goodput of a phase as a share of the peak."""
    return seen[at].good_per_s / seen[0].good_per_s


def request_us(peak: Seen) -> float:
    """Return what one good answer cost the gateway."""
    return peak.gateway_s / peak.good.total() * 1e6


def _figures(seen: list[Seen]) -> dict[str, Scalar]:
    return {
        "peak_per_s": round(seen[0].good_per_s),
        **{
            f"share_at_{round(phase.asked_per_s / seen[0].good_per_s)}_times": round(share(seen, at), 3)
            for at, phase in enumerate(seen)
            if at
        },
        "refused_per_s": round(seen[-1].refused_per_s),
        "refusal_us": round(refusal_us(seen[0], seen[-1]), 1) if seen[-1].refused else None,
        "request_us": round(request_us(seen[0])),
        "late": seen[-1].late,
        "unsent": seen[-1].unsent,
    }


def _rows(kind: str, seen: list[Seen]) -> list[tuple[Scalar, ...]]:
    return [
        (
            kind if at else f"{kind}: the peak",
            round(phase.asked_per_s) or None,
            round(phase.good_per_s),
            round(share(seen, at) * 100),
            *(round(phase.served(name) * 100, 1) for name in ("critical", "high", "normal", "low")),
            round(phase.took_ms(50), 1),
            round(phase.took_ms(99), 1),
            round(phase.gateway_s / phase.seconds, 2),
            round(phase.load_s / phase.seconds, 2),
        )
        for at, phase in enumerate(seen)
    ]


def _table(rows: list[tuple[Scalar, ...]]) -> Table:
    return Table(
        title="By load: answers in time, and the share of each class that was served",
        columns=(
            "load",
            "asked a second",
            "good a second",
            "% of peak",
            "% critical",
            "% high",
            "% normal",
            "% low",
            "p50 ms",
            "p99 ms",
            "gateway cores",
            "generator cores",
        ),
        rows=tuple(rows),
    )


def _bars(streams: list[Seen], helpless: list[Seen]) -> Bars:
    bars = {f"{times} × capacity": round(share(streams, at + 1) * 100, 1) for at, times in enumerate(TIMES)}
    return Bars(
        title="Goodput under overload, of the peak",
        unit="%",
        bars={**bars, f"{TIMES[-1]} × capacity, nobody at the door": round(share(helpless, -1) * 100, 1)},
        better="higher",
        ours=tuple(bars),
    )
