"""E1: our encoder and our whole HTTP path beside Infinity and sentence-transformers, on one model, in one run.

Promise: each rival is judged by the best of its engines, figure by figure, and beside that by the one it starts with
when nobody names any; a rival that could not be measured keeps the line from being met. What is missed is told beside
what this machine could do at most. Lengths of 16, 64 and 256 tokens, and SciFact's abstracts mixed with BANKING77's
questions.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.bench import embedding, embedding_raw
from tests.bench.embedding import FULL, MIXED, QUICK, SETS, Seen
from tests.bench.embedding_load import CONNECTIONS, EVERY_S
from tests.evidence.registry import Bars, Result, Scalar, Table

ID = "E1"
TITLE = "Vectors on one machine: near the limit of the processor, and a question is never behind an ingest"
MIXED_LEAST = 5.0
PER_S_LEAST = 3.0
LIMIT_LEAST = 0.7
NDCG_LEAST = 0.999
QUESTION_P99_MOST_MS = 10.0
OURS, INGEST = "Penstock", "Penstock, ingest lane"
_LAST, _SHORTEST = str(CONNECTIONS[-1]), str(min(SETS))
AS_IT_COMES = "torch"
"""The engine of `infinity_emb v2` when none is named."""


def produce(quick: bool) -> Result:
    """Run the bench and judge it."""
    embedding.install()
    seen = embedding.run(QUICK if quick else FULL)
    missed = shortfalls(seen)
    told = [f"not measured: {name}: {why[:300]}" for name, why in seen.not_runnable.items()]
    verdict = "met" if not missed and not told else "partly" if OURS in seen.bulk else "missed"
    return Result(
        _figures(seen), verdict, "; ".join([*missed, *told, _summary(seen)]), _tables(seen), _charts(seen)
    )


def shortfalls(seen: Seen) -> list[str]:
    """Return what was promised and not seen."""
    goals: list[tuple[str, float | None, float, str]] = [
        (
            "mixed lengths over HTTP, times the best Infinity",
            mixed_times(seen),
            MIXED_LEAST,
            _most_mixed(seen),
        ),
        (
            "requests a second at 64 connections, times the best Infinity",
            per_s_times(seen),
            PER_S_LEAST,
            _most_per_s(seen),
        ),
        (f"share of the {seen.precision} limit at 64 tokens", limit_share(seen), LIMIT_LEAST, ""),
    ]
    if seen.ndcg:
        kept = seen.ndcg[seen.precision] / seen.ndcg["fp32"]
        goals.append(("share of the nDCG of fp32", kept, NDCG_LEAST, ""))
    wrong = [
        f"{name}: not measured" if found is None else f"{name}: {found:.3g}, wanted {least:g}{most}"
        for name, found, least, most in goals
        if found is None or found < least
    ]
    waited = seen.lanes.get(OURS)
    if waited is None or waited["p99_ms"] > QUESTION_P99_MOST_MS:
        found_ms = "not measured" if waited is None else f"{waited['p99_ms']:.1f} ms"
        wrong.append(f"p99 of a question beside an ingest: {found_ms}, wanted {QUESTION_P99_MOST_MS:g}")
    return wrong


def infinities(seen: Seen, engine: str = "") -> list[str]:
    """Return Infinity's engines that were measured, or the one named."""
    return [name for name in seen.bulk if name.startswith("Infinity") and name.endswith(engine)]


def mixed_times(seen: Seen, engine: str = "") -> float | None:
    """Return our best lane over HTTP on mixed lengths, as times Infinity's best engine, or the one named."""
    ours = best(seen.bulk[name][MIXED] for name in (OURS, INGEST) if name in seen.bulk)
    return _times(ours, best(seen.bulk[name][MIXED] for name in infinities(seen, engine)))


def per_s_times(seen: Seen, engine: str = "") -> float | None:
    """Return our requests a second at 64 connections, as times Infinity's best engine, or the one named."""
    ours = seen.questions.get(OURS)
    return _times(ours and ours[_LAST]["per_s"], _their_per_s(seen, engine))


def _their_per_s(seen: Seen, engine: str = "") -> float | None:
    names = infinities(seen, engine)
    return best(seen.questions[name][_LAST]["per_s"] for name in names if name in seen.questions)


def _most_mixed(seen: Seen) -> str:
    """Tell what the goal on mixed lengths would be of this machine's limit."""
    theirs = best(seen.bulk[name][MIXED] for name in infinities(seen))
    if theirs is None:
        return ""
    wanted, tokens = MIXED_LEAST * theirs, seen.tokens[MIXED]
    most = share(wanted, tokens, seen.peak[seen.precision])
    return (
        f" ({MIXED_LEAST:g} times it is {wanted * tokens:,.0f} tokens/s, {most:.0%} of what products of large "
        f"matrices alone reach here in {seen.precision})"
    )


def _most_per_s(seen: Seen) -> str:
    """Tell what the goal on requests would be of what the model alone computes, without queue and HTTP."""
    theirs, ours = _their_per_s(seen), seen.bulk.get(f"our encoder, {seen.precision}")
    if theirs is None or ours is None:
        return ""
    alone = ours[_SHORTEST]
    return (
        f" ({PER_S_LEAST:g} times it is {PER_S_LEAST * theirs:,.0f} a second; the encoder alone, without queue and "
        f"HTTP, computes {alone:,.0f} texts of {_SHORTEST} tokens)"
    )


def limit_share(seen: Seen, tokens: int = 64) -> float | None:
    """Return what our encoder reaches of the limit at a length: operations a second over those of matrix products."""
    rates = seen.bulk.get(f"our encoder, {seen.precision}")
    return share(rates[str(tokens)], tokens, seen.peak[seen.precision]) if rates else None


def share(texts_per_s: float, tokens: int, peak: float) -> float:
    """Return a rate as a share of a limit."""
    return texts_per_s * tokens * embedding_raw.flops(tokens) / peak


def best(rates: Iterable[float]) -> float | None:
    """Return the largest, if there is any."""
    return max(rates, default=None)


def _times(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours and theirs else None


def _summary(seen: Seen) -> str:
    parts = [f"computed in {seen.precision}"]
    for whose, engine in (("Infinity as it comes (torch)", AS_IT_COMES), ("its best engine", "")):
        mixed, per_s = mixed_times(seen, engine), per_s_times(seen, engine)
        if mixed is not None and per_s is not None:
            parts.append(
                f"beside {whose} {mixed:.1f} × the texts of mixed lengths and {per_s:.1f} × the requests a second at "
                f"{_LAST} connections"
            )
    if (reached := limit_share(seen)) is not None:
        parts.append(f"{reached:.0%} of the {seen.precision} limit")
    if seen.ndcg:
        parts.append(f"{seen.ndcg[seen.precision] / seen.ndcg['fp32']:.4f} of the nDCG@10 of fp32 on SciFact")
    if waited := seen.lanes.get(OURS):
        cost = 1 - waited["beside_per_s"] / waited["alone_per_s"]
        parts.append(
            f"a question every {EVERY_S * 1e3:.0f} ms beside a full ingest: p99 {waited['p99_ms']:.1f} ms, which costs "
            f"the ingest {cost:.0%}"
        )
    return "; ".join(parts)


def _figures(seen: Seen) -> dict[str, Scalar | dict[str, Scalar]]:
    return {
        "precision": seen.precision,
        "mean_tokens_of_the_mix": round(seen.tokens[MIXED], 1),
        "limit_gflops": {name: round(peak / 1e9) for name, peak in seen.peak.items()},
        "ndcg_at_10": {name: round(value, 4) for name, value in seen.ndcg.items()},
        "share_of_the_limit": {
            f"{precision}_{tokens}_tokens": round(
                share(seen.bulk[f"our encoder, {precision}"][str(tokens)], tokens, peak), 3
            )
            for precision, peak in seen.peak.items()
            for tokens in SETS
        },
        "mixed_times_best_infinity": _rounded(mixed_times(seen)),
        "requests_per_s_times_best_infinity": _rounded(per_s_times(seen)),
        "mixed_times_infinity_as_it_comes": _rounded(mixed_times(seen, AS_IT_COMES)),
        "requests_per_s_times_infinity_as_it_comes": _rounded(per_s_times(seen, AS_IT_COMES)),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _tables(seen: Seen) -> tuple[Table, ...]:
    return _in_bulk(seen), _asked(seen), _beside(seen)


def _in_bulk(seen: Seen) -> Table:
    sets = [*map(str, SETS), MIXED]
    return Table(
        title="In bulk: texts and tokens a second, the best of three",
        columns=(
            "what",
            *(f"{name} texts/s" for name in sets),
            *(f"{name} tokens/s" for name in sets),
        ),
        rows=tuple(
            (
                name,
                *(round(rates[each], 1) for each in sets),
                *(round(rates[each] * seen.tokens[each]) for each in sets),
            )
            for name, rates in seen.bulk.items()
        ),
    )


def _asked(seen: Seen) -> Table:
    counts = [str(count) for count in CONNECTIONS]
    return Table(
        title="Short questions over HTTP, by connections (wrk)",
        columns=(
            "server",
            *(f"{c}: {what}" for c in counts for what in ("a second", "p50 ms", "p99 ms", "errors")),
        ),
        rows=tuple(
            (
                name,
                *(
                    value
                    for c in counts
                    for value in (
                        round(by[c]["per_s"], 1),
                        round(by[c]["p50_us"] / 1e3, 2),
                        round(by[c]["p99_us"] / 1e3, 2),
                        round(by[c]["errors"]),
                    )
                ),
            )
            for name, by in seen.questions.items()
        ),
    )


def _beside(seen: Seen) -> Table:
    return Table(
        title=f"One short question every {EVERY_S * 1e3:.0f} ms beside a bulk load of 256-token texts that never ends",
        columns=(
            "server",
            "bulk alone, texts/s",
            "bulk beside it",
            "question p50 ms",
            "p99 ms",
            "max ms",
            "questions",
        ),
        rows=tuple(
            (
                name,
                *(
                    round(seen_by[key], 1)
                    for key in ("alone_per_s", "beside_per_s", "p50_ms", "p99_ms", "max_ms")
                ),
                round(seen_by["questions"]),
            )
            for name, seen_by in seen.lanes.items()
        ),
    )


def _charts(seen: Seen) -> tuple[Bars, ...]:
    ours = (OURS, INGEST, *(name for name in seen.bulk if name.startswith("our")))
    return (
        Bars(
            title="Mixed lengths, tokens a second",
            unit="tokens/s",
            bars={name: round(rates[MIXED] * seen.tokens[MIXED]) for name, rates in seen.bulk.items()},
            better="higher",
            ours=ours,
        ),
        Bars(
            title="Short questions over HTTP, 64 connections",
            unit="requests/s",
            bars={name: round(by[_LAST]["per_s"], 1) for name, by in seen.questions.items()},
            better="higher",
            ours=ours,
        ),
    )
