"""A search: both ways fused, reranked by what there is, ordered by one score, and honest about itself."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
import pytest

from penstock.embedding.catalog.collections import CollectionDoc
from penstock.embedding.catalog.embedder import Embedded, Purpose, Space
from penstock.embedding.search.calibration import MINILM
from penstock.embedding.search.late_interaction import LateInteraction
from penstock.embedding.search.rerank import ON_THE_FLY, Reranking
from penstock.embedding.search.search import Searcher
from penstock.embedding.search.search_wire import K_MOST, Answer, SearchAsk, parse_search
from penstock.kernel.clock import ManualClock
from penstock.kernel.context import Principal
from penstock.kernel.errors import Invalid, NotFound, OverBudget, OverLimit, PenstockError, Unavailable
from penstock.ports.encoder import Lane, Tokenized
from penstock.ports.index import Chunk, Document
from tests.support import run
from tests.unit.embedding.memory_index import MemoryIndex

KIM = Principal(key_id="k", org="acme", team="t", project="p", user="")
MINI = "local/all-MiniLM-L6-v2"
OTHER = "vendor/embed"


def unit(*numbers: float) -> bytes:
    """Return a vector of length 1."""
    length = math.sqrt(sum([number * number for number in numbers]))
    return array("f", [number / length for number in numbers]).tobytes()


@dataclass
class Scripted:
    """Embeds every question as (1, 0); `fails` is raised by what it names."""

    version: str = "1"
    gone: bool = False
    fails: dict[str, PenstockError] = field(default_factory=dict[str, PenstockError])
    cross: tuple[float, ...] = ()
    lanes: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    rows: list[str] = field(default_factory=list[str])

    def space(self, model: str) -> Space:
        """Return the space."""
        if self.gone:
            raise NotFound("gone")
        return Space(
            model=model,
            version=self.version,
            dimensions=2,
            max_tokens=64,
            languages=("en",),
            late=model == MINI,
        )

    async def tokenize(self, texts: Sequence[str], *, model: str) -> Sequence[Tokenized]:
        """There is no need."""
        raise AssertionError("a search cuts nothing into tokens")

    async def embed(
        self, who: Principal, texts: Sequence[str], *, model: str, lane: Lane, purpose: Purpose
    ) -> Embedded:
        """Return (1, 0)."""
        self.lanes.append((lane, purpose))
        self._fail("embed")
        assert who.key_id == KIM.key_id
        return Embedded(vectors=(unit(1, 0),) * len(texts))

    async def token_vectors(
        self, who: Principal, texts: Sequence[str], *, model: str, lane: Lane
    ) -> tuple[bytes, ...]:
        """Return the texts themselves, for `Alike` to read."""
        self._fail("token_vectors")
        self.rows += texts
        return tuple([text.encode() for text in texts])

    async def rerank(
        self, who: Principal, model: str, query: str, documents: Sequence[str]
    ) -> tuple[float, ...]:
        """Return what was scripted."""
        self._fail("rerank")
        return self.cross[: len(documents)]

    def _fail(self, what: str) -> None:
        if what in self.fails:
            raise self.fails[what]


class Alike:
    """Finds texts alike by the number that they end with, in hundredths."""

    async def compress(self, matrices: Sequence[bytes], dimensions: int) -> tuple[bytes, ...]:
        """Return them."""
        return tuple(matrices)

    async def match(self, question: bytes, passages: Sequence[bytes], dimensions: int) -> tuple[float, ...]:
        """Return the number of each."""
        return tuple([int(each.rsplit(b" ", 1)[1]) / 100 for each in passages])

    async def close(self) -> None:
        """Let nothing go."""


def collection(model: str = MINI, rerank: str = "auto") -> CollectionDoc:
    """Return a collection."""
    return CollectionDoc(
        uid="col_1",
        name="guides",
        org="acme",
        owner="acme/t/p",
        key_id="k",
        created_s=0,
        space=f"{model}@1",
        rerank=rerank,
    )


Told = tuple[str, tuple[float, float], str]


async def searched(
    documents: Sequence[Told],
    ask: SearchAsk,
    embedder: Scripted | None = None,
    where: CollectionDoc | None = None,
    *,
    with_late: bool = True,
    tokens: bool = False,
    stale: list[tuple[str, list[str]]] | None = None,
) -> Answer:
    """Put documents of one chunk each (id, vector, text), and search them."""
    index, embedder, where = MemoryIndex(), embedder or Scripted(), where or collection()
    rows = [
        Document(
            id=name,
            version="v",
            chunks=(
                Chunk(
                    position=0,
                    digest=name,
                    text=text,
                    vector=unit(*vector),
                    tokens=text.encode() if tokens else b"",
                ),
            ),
            labels=("secret",) if name.startswith("secret") else (),
        )
        for name, vector, text in documents
    ]
    await index.put(where.place, where.space, rows)
    late = LateInteraction(Alike()) if with_late else None
    searcher = Searcher(index, embedder, Reranking(embedder, late), ManualClock())
    if stale is not None:

        async def tell(doc: CollectionDoc, found: Sequence[str]) -> None:
            stale.append((doc.name, list(found)))

        searcher.stale = tell
    return await searcher.search(KIM, where, ask)


def names(answer: Answer) -> list[str]:
    """Return the documents found."""
    return [each.document for each in answer.results]


NEAR: Told = ("near", (1, 0), "gates and wheels 10")
WORD: Told = ("word", (0.2, 1), "the penstock itself 20")
LATE: Told = ("late", (0.5, 1), "what was meant 90")
ASK = SearchAsk(query="penstock", explain=True)


def test_meaning_and_words_are_asked_at_once_and_late_interaction_decides() -> None:
    answer = run(searched([NEAR, WORD, LATE], ASK))
    assert set(names(answer)) == {"near", "word", "late"}
    assert answer.rerank.used == "late"
    assert names(answer)[0] == "late" or answer.results[0].score >= answer.results[1].score
    without = run(searched([NEAR, WORD, LATE], msgspec.structs.replace(ASK, rerank="none")))
    assert without.rerank.used == "none"
    assert names(without) == ["near", "word", "late"]
    assert names(answer) != names(without)


def test_the_score_is_the_calibrated_relevance_of_the_evidence_shown() -> None:
    for rerank, curve in (("late", MINILM.late), ("none", MINILM.plain)):
        answer = run(searched([NEAR, WORD, LATE], msgspec.structs.replace(ASK, rerank=rerank)))
        assert (answer.score.name, answer.score.calibrated) == ("relevance", True)
        assert answer.score.threshold == curve.threshold
        for each in answer.results:
            assert each.scores is not msgspec.UNSET
            x = curve.meaning * (each.scores.cosine or 0) + curve.words * each.scores.words
            x = (x + curve.late * (each.scores.late or 0)) / (curve.meaning + curve.words + curve.late)
            assert each.score == pytest.approx(
                1 / (1 + math.exp(-(curve.slope * x + curve.offset))), abs=1e-5
            )
        scores = [each.score for each in answer.results]
        assert scores == sorted(scores, reverse=True)


def test_who_was_found_by_words_alone_has_its_cosine_too() -> None:
    # Given more documents near in meaning than are considered, and one far one that has the word
    crowd: list[Told] = [(f"d{n:03}", (1, n / 1000), f"text {n}") for n in range(30)]
    answer = run(
        searched([*crowd, WORD], SearchAsk(query="penstock", k=5, candidates=5, rerank="none", explain=True))
    )
    by_name = {each.document: each for each in answer.results}
    scores = by_name["word"].scores
    assert scores is not msgspec.UNSET
    assert scores.cosine == pytest.approx(0.2 / math.sqrt(1.04), abs=1e-6)


def test_equals_stand_in_one_order() -> None:
    same: list[Told] = [(name, (1, 0), "same 50") for name in "dacb"]
    orders = {tuple(names(run(searched(same[n:] + same[:n], ASK)))) for n in range(4)}
    assert len({frozenset(order) for order in orders}) == 1
    one = run(searched(same, ASK))
    assert names(one) == names(run(searched(same, ASK)))


def test_late_interaction_looks_at_sixteen_unless_token_vectors_are_kept() -> None:
    crowd: list[Told] = [(f"d{n:03}", (1, n / 100), f"text {n}") for n in range(ON_THE_FLY + 5)]
    ask = SearchAsk(query="text", k=K_MOST, explain=True)
    embedder = Scripted()
    answer = run(searched(crowd, ask, embedder))
    assert (answer.rerank.candidates, answer.rerank.computed) == (ON_THE_FLY, ON_THE_FLY)
    assert len(embedder.rows) == 1 + ON_THE_FLY
    # Those it looked at stand first, and no score behind them is higher.
    seen = [each.scores.late is not None for each in answer.results if each.scores is not msgspec.UNSET]
    assert seen == sorted(seen, reverse=True)
    scores = [each.score for each in answer.results]
    assert scores == sorted(scores, reverse=True)
    kept = run(searched(crowd, ask, embedder := Scripted(), tokens=True))
    assert (kept.rerank.candidates, kept.rerank.computed) == (len(crowd), 0)
    assert embedder.rows == ["text"]


def test_a_cross_encoder_decides_where_one_is_named_and_its_logits_become_shares() -> None:
    ask = msgspec.structs.replace(ASK, rerank="vendor/cross")
    answer = run(searched([NEAR, WORD, LATE], ask, Scripted(cross=(-3.0, 0.5, 4.0))))
    assert answer.rerank.used == answer.score.model == "vendor/cross"
    assert not answer.score.calibrated
    assert [each.score for each in answer.results] == pytest.approx(
        [1 / (1 + math.exp(-x)) for x in (4.0, 0.5, -3.0)], abs=1e-5
    )
    shares = run(searched([NEAR, WORD, LATE], ask, Scripted(cross=(0.1, 0.9, 0.3))))
    assert [each.score for each in shares.results] == pytest.approx([0.9, 0.3, 0.1])


@pytest.mark.parametrize("error", [Unavailable("down"), OverLimit("slowly")])
def test_a_reranker_that_is_not_to_be_had_costs_quality_and_says_so(error: PenstockError) -> None:
    for rerank, what in (("vendor/cross", "rerank"), ("late", "token_vectors")):
        answer = run(
            searched([NEAR, WORD], msgspec.structs.replace(ASK, rerank=rerank), Scripted(fails={what: error}))
        )
        assert len(answer.results) == 2
        assert answer.rerank.used == "none"
        assert error.message in answer.rerank.why
        assert answer.warnings == (answer.rerank.why,)


def test_what_refuses_the_caller_refuses_the_search() -> None:
    for what, rerank in (("embed", "none"), ("rerank", "vendor/cross")):
        with pytest.raises(OverBudget):
            run(
                searched(
                    [NEAR],
                    msgspec.structs.replace(ASK, rerank=rerank),
                    Scripted(fails={what: OverBudget("none")}),
                )
            )


def test_late_interaction_that_cannot_be_is_refused_where_asked_for_and_left_out_where_not() -> None:
    with pytest.raises(Invalid) as refused:
        run(searched([NEAR], msgspec.structs.replace(ASK, rerank="late"), where=collection(OTHER)))
    assert refused.value.field == "rerank"
    assert run(searched([NEAR], ASK, where=collection(OTHER))).rerank.used == "none"
    assert run(searched([NEAR], ASK, with_late=False)).rerank.used == "none"


def test_the_collection_says_what_reranks_unless_the_search_does() -> None:
    assert run(searched([NEAR], ASK, where=collection(rerank="none"))).rerank.used == "none"
    late = msgspec.structs.replace(ASK, rerank="late")
    assert run(searched([NEAR], late, where=collection(rerank="none"))).rerank.used == "late"


def test_a_model_without_a_curve_has_no_threshold_and_says_so() -> None:
    ask = msgspec.structs.replace(ASK, min_score=0.4)
    answer = run(searched([NEAR, WORD, LATE], ask, where=collection(OTHER)))
    assert (answer.score.calibrated, answer.score.threshold) == (False, None)
    assert all(0.4 <= each.score <= 1 for each in answer.results)
    assert any("not calibrated" in warning for warning in answer.warnings)


def test_a_model_that_became_another_version_is_searched_by_words_alone() -> None:
    stale: list[tuple[str, list[str]]] = []
    for embedder in (Scripted(version="2"), Scripted(gone=True)):
        answer = run(searched([NEAR, WORD], ASK, embedder, stale=stale))
        assert names(answer) == ["word"]
        assert answer.stale
        assert answer.warnings
        assert embedder.lanes == []
        assert answer.results[0].score == 1.0
        assert not answer.score.calibrated
    assert stale == [("guides", ["word"])] * 2
    assert not run(searched([NEAR, WORD], ASK)).stale


def test_a_question_that_cannot_be_embedded_just_now_is_answered_by_words() -> None:
    answer = run(
        searched(
            [NEAR, WORD],
            msgspec.structs.replace(ASK, rerank="none"),
            Scripted(fails={"embed": Unavailable("busy")}),
        )
    )
    assert names(answer) == ["word"]
    assert "busy" in answer.warnings[0]
    assert not answer.stale


def test_a_question_too_long_is_told_as_the_query() -> None:
    error = Invalid("too long", code="context_length_exceeded", field="input[0]", value=300, limit=256)
    with pytest.raises(Invalid) as refused:
        run(searched([NEAR], ASK, Scripted(fails={"embed": error})))
    assert (refused.value.field, refused.value.value, refused.value.limit) == ("query", 300, 256)


def test_questions_go_in_the_lane_of_those_who_wait() -> None:
    embedder = Scripted()
    run(searched([NEAR], ASK, embedder))
    assert embedder.lanes == [("query", "query")]


def test_labels_decide_who_sees_what_and_none_named_sees_only_what_has_none() -> None:
    secret: Told = ("secret", (1, 0), "penstock 99")
    assert names(run(searched([secret, WORD], ASK))) == ["word"]
    ask = msgspec.structs.replace(ASK, acl=("secret",))
    assert set(names(run(searched([secret, WORD], ask)))) == {"secret", "word"}


def test_k_and_min_score_bound_what_is_shown_and_tags_name_it() -> None:
    ask = msgspec.structs.replace(ASK, k=1, explain=False)
    answer = run(searched([NEAR, WORD, LATE], ask))
    assert len(answer.results) == 1
    assert answer.tags == (f"doc:guides/{answer.results[0].document}",)
    assert answer.results[0].scores is msgspec.UNSET
    assert answer.stages_ms is msgspec.UNSET
    everything = run(searched([NEAR, WORD, LATE], ASK))
    least = everything.results[1].score
    some = run(searched([NEAR, WORD, LATE], msgspec.structs.replace(ASK, min_score=least)))
    assert names(some) == [each.document for each in everything.results if each.score >= least]


def test_another_language_than_the_models_is_warned_of() -> None:
    assert not run(searched([NEAR], msgspec.structs.replace(ASK, language="en-GB"))).warnings
    (warning,) = run(searched([NEAR], msgspec.structs.replace(ASK, language="ja"))).warnings
    assert "en" in warning
    assert "ja" in warning


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"query": ""}', "query"),
        (b'{"query": "  "}', "query"),
        (b'{"query": "a", "k": 0}', "k"),
        (b'{"query": "a", "k": 101}', "k"),
        (b'{"query": "a", "candidates": 201}', "candidates"),
        (b'{"query": "a", "min_score": 1.5}', "min_score"),
        (b'{"query": "a", "top": 3}', "top"),
    ],
)
def test_what_is_not_as_described_is_refused_by_its_name(body: bytes, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_search(body)
    assert field in f"{refused.value.field} {refused.value.message}"


def test_the_bounds_themselves_are_taken() -> None:
    assert parse_search(b'{"query": "a", "k": 100, "candidates": 200, "min_score": 1}').k == K_MOST
    assert parse_search(b'{"query": "a", "k": 1, "candidates": 1, "min_score": 0}').candidates == 1
