"""A search of a collection: by meaning and by words at once, ordered by one calibrated score.

    question ─▶ vector ─┬▶ nearest by meaning ─┐
             └▶ words ──┴▶ best by words ──────┴▶ ranks fused ─▶ first `candidates` ─▶ reranked ─▶ relevance ─▶ first k
                (filters, labels and space hold inside the index)    `fusion`           `rerank`   `calibration`

Promises
1. Only passages of the collection's one space are found, and only those the labels named may see (`ports/index` 2).
2. Results stand in the falling order of their `score`; the same rows and question give the same order.
3. The reply says what its score is, of which model, from which value on results are worth an answer, what reranked, and
   whatever made it less than it could be (a model that is no more, a language the model was not trained for).
4. A collection whose model has become another version is searched by words alone until its rows are embedded anew:
   vectors of two versions are never compared.

The caller pays for the question's vector (and a reranker elsewhere) as for any call of the gateway.
"""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from penstock.embedding.catalog.collections import CollectionDoc
from penstock.embedding.catalog.embedder import Embedder, Space
from penstock.embedding.catalog.events import tag_of
from penstock.embedding.search.calibration import SCORE, Curve, logistic, relative, shipped
from penstock.embedding.search.fusion import reciprocal_ranks, shares
from penstock.embedding.search.rerank import LATE, NONE, Candidate, Key, Reranked, Reranking, dot
from penstock.embedding.search.search_wire import K_MOST, Answer, Result, Scores, ScoreSaid, SearchAsk
from penstock.embedding.serving.outputs import numbers_of
from penstock.kernel.clock import Clock
from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid, NotFound, Unavailable
from penstock.ports.index import Found, Hit, Index, Question, Where

MS: Final = 1_000.0
DIGITS: Final = 6
Stale = Callable[[CollectionDoc, Sequence[str]], Awaitable[object]]


class _Sight:
    """What one search knows so far."""

    def __init__(self, clock: Clock) -> None:
        self.warnings: list[str] = []
        self.stages_ms: dict[str, float] = {}
        self._clock = clock
        self._started_s = self._last_s = clock.monotonic_s()

    def done(self, stage: str) -> None:
        """Note that a stage ended now."""
        now_s = self._clock.monotonic_s()
        self.stages_ms[stage] = round((now_s - self._last_s) * MS, 3)
        self._last_s = now_s

    @property
    def took_ms(self) -> float:
        """Return how long it took until now."""
        return round((self._clock.monotonic_s() - self._started_s) * MS, 3)


class Searcher:
    """Searches collections. One per process."""

    def __init__(self, index: Index, embedder: Embedder, reranking: Reranking, clock: Clock) -> None:
        """Search `index` with questions that `embedder` embeds."""
        self._index = index
        self._embedder = embedder
        self._reranking = reranking
        self._clock = clock
        self.stale: Stale | None = None
        """Told of a collection that was searched and whose model is of another version now, and what was found."""

    async def documents(
        self, collection: CollectionDoc, who: Principal, query: str, *, labels: Sequence[str], limit: int
    ) -> Sequence[str]:
        """Return the documents found for `query`, best first (`recall.Finder`)."""
        ask = SearchAsk(query=query, k=K_MOST, acl=tuple(labels))
        results = (await self.search(who, collection, ask)).results
        return list(dict.fromkeys([each.document for each in results]))[:limit]

    async def search(self, who: Principal, collection: CollectionDoc, ask: SearchAsk) -> Answer:
        """Search. Raises Invalid, and whatever the embedder and the index raise."""
        sight = _Sight(self._clock)
        space = self._space(collection)
        vector = await self._vector(who, ask, space, sight)
        sight.done("embed")
        by = NONE
        if space is not None:
            by = self._reranking.chosen(ask.rerank or collection.rerank, space)
            _check_language(ask, space, sight)
        found = await self._index.search(
            collection.place, collection.space, _question(ask, vector, space, tokens=by == LATE)
        )
        sight.done("search")
        candidates = candidates_of(found, vector, max(ask.candidates, ask.k))
        reranked = Reranked(used=NONE)
        if space is not None:
            reranked = await self._reranking.rerank(who, space, ask.query, candidates, by)
        if reranked.why:
            sight.warnings.append(reranked.why)
        sight.done("rerank")
        if space is None and self.stale is not None:
            await self.stale(collection, [each.hit.document for each in candidates[: ask.k]])
        curve = _curve(collection, reranked) if vector else None
        ordered = ordered_by_score(candidates, curve, collection)
        return self._answer(collection, ask, (ordered, curve, reranked), space, sight)

    # ------------------------------------------------------------------------------------------------------ its steps

    def _space(self, collection: CollectionDoc) -> Space | None:
        """Return the space to ask in; None when nothing can be embedded for it any more."""
        try:
            space = self._embedder.space(collection.model)
        except NotFound:
            return None
        return space if space.name == collection.space else None

    async def _vector(self, who: Principal, ask: SearchAsk, space: Space | None, sight: _Sight) -> bytes:
        """Return the question's vector; b"" where there can be none, which is said."""
        if space is None:
            sight.warnings.append(
                "The collection's model is of another version now, or gone: found by words alone until its documents "
                "are embedded anew."
            )
            return b""
        try:
            told = await self._embedder.embed(
                who, (ask.query,), model=space.model, lane="query", purpose="query"
            )
        except Unavailable as error:
            sight.warnings.append(f"The question was not embedded, found by words alone: {error.message}")
            return b""
        except Invalid as error:
            if not error.field.startswith("input"):
                raise
            raise Invalid(
                "The query is longer than the model reads.",
                code=error.reason,
                field="query",
                value=error.value,
                limit=error.limit,
                remedy="Ask in fewer words.",
            ) from error
        return told.vectors[0]

    def _answer(
        self,
        collection: CollectionDoc,
        ask: SearchAsk,
        scored: tuple[Sequence[tuple[Candidate, float]], Curve | None, Reranked],
        space: Space | None,
        sight: _Sight,
    ) -> Answer:
        ordered, curve, reranked = scored
        if ask.min_score is not None and curve is None:
            sight.warnings.append(
                "The score is not calibrated for this model: min_score bounds it all the same."
            )
        least = ask.min_score or 0.0
        # As it is shown it is compared: who asks again for the score he was shown sees the same result.
        rounded = [(each, round(score, DIGITS)) for each, score in ordered]
        shown = [each for each in rounded if each[1] >= least][: ask.k]
        results = tuple([_result(each, score, explain=ask.explain) for each, score in shown])
        sight.done("order")
        documents = dict.fromkeys([each.document for each in results])
        return Answer(
            object="collection.search",
            collection=collection.name,
            space=collection.space,
            results=results,
            score=ScoreSaid(
                name=SCORE,
                model=collection.space if reranked.used in (NONE, LATE) else reranked.used,
                calibrated=curve is not None,
                threshold=curve.threshold if curve is not None else None,
            ),
            rerank=reranked,
            tags=tuple([tag_of(collection.name, document) for document in documents]),
            stale=space is None,
            warnings=tuple(sight.warnings),
            took_ms=sight.took_ms,
            stages_ms=sight.stages_ms if ask.explain else msgspec.UNSET,
        )


def candidates_of(found: Found, vector: bytes, most: int) -> list[Candidate]:
    """Return the first of both ways together, by their ranks. Who was found by words alone has a cosine too."""
    dense = {_key(hit): hit for hit in found.dense}
    words = {_key(hit): hit for hit in found.words}
    fused = reciprocal_ranks([list(dense), list(words)])
    share = shares({key: hit.score for key, hit in words.items()})
    question = numbers_of(vector)
    candidates: list[Candidate] = []
    for key in list(fused)[:most]:
        hit = dense.get(key) or words[key]
        candidates.append(
            Candidate(
                hit=hit,
                cosine=dense[key].score if key in dense else _cosine(question, hit.chunk.vector),
                bm25=words[key].score if key in words else None,
                words=share.get(key, 0.0),
                rrf=fused[key],
            )
        )
    return candidates


def ordered_by_score(
    candidates: Sequence[Candidate], curve: Curve | None, collection: CollectionDoc
) -> list[tuple[Candidate, float]]:
    """Return candidates with their scores, best first. Those a reranker looked at stand before those it did not, whose
    scores are held below theirs; equals stand as their ranks were fused.
    """
    head = [each for each in candidates if each.late is not None or each.cross is not None]
    tail = candidates[len(head) :]
    scored = _falling(head, _scores(head, curve))
    least = scored[-1][1] if scored else 1.0
    calibration = shipped(collection.model)
    plain = calibration.plain if curve is not None and calibration is not None else None
    rest = _falling(tail, _scores(tail, plain))
    return scored + [(each, min(score, least)) for each, score in rest]


def _scores(candidates: Sequence[Candidate], curve: Curve | None) -> list[float]:
    crossed = [each.cross for each in candidates if each.cross is not None]
    if crossed and len(crossed) == len(candidates):
        is_share = all(0.0 <= score <= 1.0 for score in crossed)
        return crossed if is_share else [logistic(score) for score in crossed]
    if curve is not None:
        return [curve.relevance(each.seen) for each in candidates]
    return relative([each.seen for each in candidates])


def _falling(candidates: Sequence[Candidate], scores: Sequence[float]) -> list[tuple[Candidate, float]]:
    return sorted(
        zip(candidates, scores, strict=True), key=lambda each: (-each[1], -each[0].rrf, each[0].key)
    )


def _curve(collection: CollectionDoc, reranked: Reranked) -> Curve | None:
    """Return the curve that holds for the evidence there is; None where the score is not calibrated."""
    calibration = shipped(collection.model)
    if calibration is None or reranked.used not in (NONE, LATE):
        return None
    return calibration.late if reranked.used == LATE else calibration.plain


def _question(ask: SearchAsk, vector: bytes, space: Space | None, *, tokens: bool) -> Question:
    languages = space.languages if space is not None else ()
    return Question(
        vector=vector,
        words=ask.query,
        language=ask.language or (languages[0] if len(languages) == 1 else ""),
        where=tuple([Where(**msgspec.structs.asdict(each)) for each in ask.where]),
        labels=ask.acl,
        limit=max(ask.candidates, ask.k),
        tokens=tokens,
    )


def _check_language(ask: SearchAsk, space: Space, sight: _Sight) -> None:
    if ask.language and space.languages and ask.language.partition("-")[0] not in space.languages:
        sight.warnings.append(
            f"{space.model} was trained for {', '.join(space.languages)}, and the question is said to be in "
            f"{ask.language}: a collection of a multilingual model finds more."
        )


def _result(each: Candidate, score: float, *, explain: bool) -> Result:
    hit = each.hit
    chunk = hit.chunk
    return Result(
        document=hit.document,
        version=hit.version,
        title=hit.title,
        url=hit.url,
        language=hit.language,
        position=chunk.position,
        page=chunk.page,
        heading=chunk.heading,
        start=chunk.start,
        end=chunk.end,
        text=chunk.text,
        score=score,
        metadata=hit.metadata,
        scores=_explained(each) if explain else msgspec.UNSET,
    )


def _explained(each: Candidate) -> Scores:
    return Scores(
        cosine=each.cosine,
        bm25=each.bm25,
        words=each.words,
        rrf=each.rrf,
        late=each.late,
        rerank=each.cross,
    )


def _key(hit: Hit) -> Key:
    return hit.document, hit.chunk.position


def _cosine(question: array[float], vector: bytes) -> float:
    """Return the cosine of two vectors of length 1; 0 where one is missing."""
    other = numbers_of(vector)
    return dot(question, other) if question and len(question) == len(other) else 0.0
