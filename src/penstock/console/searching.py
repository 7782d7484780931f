"""A search of a collection as somebody types it, and its scores as people read them.

    year >= 2020            a condition a line: =, >= or <=, several values with commas between
    language = en, de

Promises: what is no condition is named by its line; every evidence a score was made of is shown with what it means, and
what was not looked at is said to be so, not shown as nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec

from penstock.console.formats import DASH
from penstock.console.inputs import Reading
from penstock.sdk.knowledge import Condition, Scalar, Scores, SearchAnswer, SearchRequest, SearchResult

QUERY_CHARS_MOST: Final = 8_192
K: Final = 5
K_MOST: Final = 100
CONDITIONS_MOST: Final = 32
RERANKS: Final = (
    ("", "as the collection says"),
    ("none", "no reranking"),
    ("late", "late interaction"),
)
EVIDENCE: Final = (
    ("cosine", "Meaning", "Cosine of the question's vector and the passage's: 1 is the same direction."),
    ("bm25", "Words", "BM25: words in common, rare ones more. Beside it the share of the best passage's."),
    ("rrf", "Ranks", "Its ranks by meaning and by words, fused (reciprocal rank fusion)."),
    ("late", "Late", "Late interaction: each token of the question with the passage's nearest."),
    ("rerank", "Rerank", "What a cross-encoder said of question and passage together."),
)
"""Each evidence: its name, what it is called, what it means."""

_CONDITION: Final = re.compile(r"\s*([^=<>]{1,256}?)\s*(>=|<=|=)\s*(.{1,1000}?)\s*")


def read(form: Reading) -> SearchRequest:
    """Read what is looked for; what is wrong is noted by field."""
    query = form.form.get("query", "")
    if not query:
        form.wrong["query"] = "Ask something."
    elif len(query) > QUERY_CHARS_MOST:
        form.wrong["query"] = f"At most {QUERY_CHARS_MOST:,} characters."
    k = form.count("k", most=K_MOST)
    if "k" in form.wrong:
        form.wrong["k"] = f"Write a whole number from 1 to {K_MOST}."
    return SearchRequest(
        query=query,
        k=k or K,
        where=_conditions(form),
        acl=form.lines("acl"),
        rerank=form.choice("rerank", [name for name, _ in RERANKS], "") or None,
        explain=True,
    )


def _conditions(form: Reading) -> tuple[Condition, ...]:
    lines = [line for line in form.form.get("where", "").splitlines() if line.strip()]
    if len(lines) > CONDITIONS_MOST:
        form.wrong["where"] = f"These are {len(lines)}; {CONDITIONS_MOST} is the most."
        return ()
    found: list[Condition] = []
    for line in lines:
        condition = _condition(line)
        if condition is None:
            form.wrong["where"] = (
                f"“{line[:60]}” is no condition. Write field = value, field >= 1 or field <= 1."
            )
            return ()
        found.append(condition)
    return tuple(found)


def _condition(line: str) -> Condition | None:
    matched = _CONDITION.fullmatch(line)
    if matched is None:
        return None
    field, sign, said = matched.groups()
    if sign == "=":
        return Condition(
            field=field, any_of=tuple(meant for word in said.split(",") for meant in _meant(word.strip()))
        )
    try:
        bound = msgspec.json.decode(said.encode(), type=float)
    except msgspec.DecodeError:
        return None
    return Condition(field=field, at_least=bound) if sign == ">=" else Condition(field=field, at_most=bound)


def _meant(word: str) -> tuple[Scalar, ...]:
    """Return what a word can mean: itself, and the number or truth that it is, too."""
    try:
        return (msgspec.json.decode(word.encode(), type=int | float | bool), word)
    except msgspec.DecodeError:
        return (word,)


@dataclass(frozen=True, slots=True)
class Explained:
    """A result with what its score says. `parts` are label, value, meaning of each evidence; `worth` is None where the
    score is no probability.
    """

    result: SearchResult
    percent: float
    worth: bool | None
    parts: tuple[tuple[str, str, str], ...]


def explained(answer: SearchAnswer) -> tuple[Explained, ...]:
    """Return every result explained, best first."""
    threshold = answer.score.threshold
    return tuple(
        Explained(
            result,
            100 * min(max(result.score, 0.0), 1.0),
            None if threshold is None else result.score >= threshold,
            _parts(result.scores or Scores()),
        )
        for result in answer.results
    )


def _parts(scores: Scores) -> tuple[tuple[str, str, str], ...]:
    values: dict[str, float | None] = msgspec.structs.asdict(scores)
    shown = {name: DASH if value is None else f"{value:.4g}" for name, value in values.items()}
    if scores.bm25 is not None:
        shown["bm25"] += f" ({scores.words:.0%})"
    return tuple((label, shown[name], meaning) for name, label, meaning in EVIDENCE)
