"""Chunks: nothing is lost, nothing is too long, an edit changes what is near it and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import random
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.embedding.ingest import boundaries, chunking, cuts
from penstock.embedding.ingest.chunking import Piece, chunked, text_of
from penstock.embedding.serving.token_estimate import estimated
from penstock.kernel.errors import Invalid
from penstock.ports.encoder import Tokenized
from penstock.ports.parsers import Block
from tests.support import run

WORDS = ["gate", "water", "turbine", "meter", "budget", "ledger", "stream", "vector", "river", "pressure"]
KINDS = ("heading", "paragraph", "list", "table", "code", "page")


async def tokenize(texts: Sequence[str]) -> Sequence[Tokenized]:
    """Four letters a token, and a mark at either side."""
    return [Tokenized((1, *e.ids, 2), ((0, 0), *e.spans, (0, 0))) for e in estimated(texts)]


def cut(blocks: Sequence[Block], *, tokens: int = 40, most: int = 60, overlap: int = 10) -> tuple[Piece, ...]:
    return run(chunked(blocks, tokenize, tokens=tokens, most=most, overlap_percent=overlap))


def prose(seed: int, sentences: int) -> str:
    """Sentences of 4 to 12 words, never twice the same."""
    rng = random.Random(seed)
    lines = ((rng.choices(WORDS, k=rng.randint(4, 12)), n) for n in range(sentences))
    return " ".join(f"{' '.join(words).capitalize()} {seed}x{n}." for words, n in lines)


def heading(text: str, level: int = 1) -> Block:
    return Block(text=text, kind="heading", level=level)


def paragraph(text: str) -> Block:
    return Block(text=text)


texts = st.one_of(
    st.text(max_size=400),
    st.text(alphabet="ab .。\n\r\u0301\u200d👩🏽🇩🇪각ᄀ", max_size=400),
    st.builds(prose, st.integers(0, 99), st.integers(1, 30)),
    st.builds(lambda c, n: c * n, st.sampled_from("a。\u0301\n x"), st.integers(1, 700)),
)
documents = st.lists(
    st.builds(
        lambda text, kind, level: Block(text=text, kind=kind, level=level if kind == "heading" else 0),
        texts,
        st.sampled_from(KINDS),
        st.integers(1, 9),
    ),
    max_size=12,
)


@settings(max_examples=120, deadline=None)
@given(documents, st.integers(1, 60), st.integers(0, 50))
def test_every_letter_is_in_a_piece_in_order_and_none_is_too_long(blocks, tokens, overlap):
    whole = text_of(blocks)
    pieces = cut(blocks, tokens=tokens, overlap=overlap)
    assert [piece.position for piece in pieces] == list(range(len(pieces)))
    seen = bytearray(len(whole))
    for piece in pieces:
        assert piece.text == whole[piece.start : piece.end] == piece.text.strip() != ""
        assert piece.digest == hashlib.sha256(piece.text.encode()).hexdigest()
        seen[piece.start : piece.end] = b"\1" * len(piece.text)
        (counted,) = run(tokenize([piece.text]))
        assert piece.tokens == len(counted.ids) <= 60
        assert piece.tokens - 2 <= max(tokens, 1)
    assert all(seen[at] or letter.isspace() for at, letter in enumerate(whole))
    assert [(p.start, p.end) for p in pieces] == sorted((p.start, p.end) for p in pieces)
    assert pieces == cut(blocks, tokens=tokens, overlap=overlap), "the same document gives the same chunks"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.sampled_from((0, 10, 25)), st.sampled_from((40, 100)))
def test_windows_overlap_as_asked_and_end_with_a_sentence_where_they_can(seed, overlap, tokens):
    (block,) = blocks = [paragraph(prose(seed, 60))]
    pieces = cut(blocks, tokens=tokens, most=tokens + 2, overlap=overlap)
    assert len(pieces) > 3
    room = tokens * overlap // 100
    for one, two in pairwise(pieces):
        shared = block.text[two.start : one.end]
        (counted,) = estimated([shared])
        assert len(counted.ids) <= room
        assert bool(shared.strip()) == bool(room)
        if tokens == 100:  # half a window holds the end of a sentence of 12 words
            assert one.text.endswith(".")


def test_a_section_that_fits_is_one_piece_and_keeps_its_path():
    blocks = [
        heading("Gates"),
        paragraph(prose(1, 1)),
        heading("Valves", 2),
        paragraph(prose(2, 1)),
        heading("Small", 3),
        paragraph("Short."),
        heading("Large", 2),
        paragraph(prose(3, 12)),
        heading("Meters"),
        heading("Nothing of its own", 2),
        paragraph(prose(4, 1)),
    ]
    pieces = cut(blocks, tokens=44)
    paths = [piece.heading for piece in pieces]
    assert paths[:2] == ["Gates", "Gates > Valves"], "Small fits into Valves, Valves not into Gates"
    assert "Small" in pieces[1].text
    assert set(paths[2:-1]) == {"Gates > Large"}
    assert len(paths[2:-1]) > 1
    assert paths[-1].startswith("Meters")
    assert pieces[-1].text.startswith("Meters\n\nNothing of its own")


def sections(count: int = 12) -> list[Block]:
    return [
        block
        for n in range(count)
        for block in (heading(f"Section {n}"), *(paragraph(prose(100 * n + m, 5)) for m in range(4)))
    ]


@pytest.mark.parametrize("changed", [2, 29, 58])
def test_editing_one_paragraph_leaves_all_other_sections_as_they_were(changed):
    before = sections()
    after = [*before]
    after[changed] = paragraph(prose(7_777, 9))
    mine = f"Section {changed // 5}"
    was, now = ([(piece.heading, piece.digest) for piece in cut(blocks)] for blocks in (before, after))
    assert [each for each in was if each[0] != mine] == [each for each in now if each[0] != mine]
    assert [each for each in was if each[0] == mine] != [each for each in now if each[0] == mine]


def test_without_headings_an_edit_changes_what_is_near_it():
    """A sentence more at the start, in the middle and near the end: the cuts are soon where they were."""
    text = prose(5, 1_500)
    was = {piece.digest for piece in cut([paragraph(text)], tokens=200, most=202)}
    assert len(was) > 100
    for at in (0, text.index("5x700."), text.index("5x1400.")):
        edited = paragraph(f"{text[:at]}A new sentence. {text[at:]}")
        now = {piece.digest for piece in cut([edited], tokens=200, most=202)}
        assert 1 <= len(was - now) <= 12


def test_an_overlap_never_reaches_into_another_section():
    blocks = sections(4)
    whole, pieces = text_of(blocks), cut(blocks)
    for one, two in pairwise(pieces):
        if one.heading != two.heading:
            assert two.start > one.end
            assert whole[two.start :].startswith(two.heading)


def test_japanese_ends_with_its_sentences():
    text = "".join(
        f"水門は川の水を量ってから{n}番の水車へ送ります。料金は正しく記録されます。" for n in range(20)
    )
    pieces = cut([paragraph(text)], tokens=58)
    assert len(pieces) > 5
    assert all(piece.text.endswith("。") for piece in pieces)


@pytest.mark.parametrize(
    "cluster",
    ["👩🏽\u200d🚀", "🇩🇪", "e\u0301\u0323", "\u1100\u1161\u11a8", "❤\ufe0f", "👩\u200d👩\u200d👧\u200d👦"],
)
def test_no_letter_of_several_characters_is_cut(cluster):
    count = 200
    for overlap in (0, 20):
        pieces = cut([paragraph(cluster * count)], tokens=23, overlap=overlap)
        assert len(pieces) > 5
        for piece in pieces:
            assert piece.text == cluster * (len(piece.text) // len(cluster)), [
                *map(hex, map(ord, piece.text))
            ]


def test_a_cluster_without_end_is_cut_all_the_same():
    pieces = cut([paragraph("e" + "\u0301" * 5_000)])
    assert len(pieces) > 50
    assert all(unicodedata.combining(piece.text[0]) for piece in pieces[1:])


def test_code_is_cut_between_its_definitions():
    code = [Block(text=f"def f{n}():\n    a = {n}\n\n    return a * {n}", kind="code") for n in range(30)]
    assert all(piece.text.startswith("def ") for piece in cut(code, tokens=58, overlap=0))
    long = Block(text="\n".join(f"    call_{n}(alpha, beta)" for n in range(99)), kind="code")
    assert all(piece.text.startswith("call_") for piece in cut([long], overlap=0))


def test_a_sentence_goes_on_over_the_end_of_a_page():
    torn = [
        Block(text="The gate meters. The water that comes in", kind="page", page=1),
        Block(text="goes to the turbine. The meter counts the whole of it.", kind="page", page=2),
    ]
    pieces = cut(torn, tokens=20, overlap=0)
    assert pieces[0].text.endswith("goes to the turbine."), "a sentence's end is better than a page's"
    assert [piece.page for piece in pieces] == [1, 2]


def test_a_tokenizer_that_counts_more_for_the_piece_than_for_the_whole_is_met():
    """One whose tokens are counted otherwise in a text that does not begin at the document's start."""

    async def spiteful(given: Sequence[str]) -> Sequence[Tokenized]:
        told = await tokenize(given)
        return [
            each
            if text.startswith("Start")
            else Tokenized((*each.ids, *each.ids), (*each.spans, *each.spans))
            for text, each in zip(given, told, strict=True)
        ]

    blocks = [paragraph("Start. " + prose(3, 40))]
    pieces = run(chunked(blocks, spiteful, tokens=40, most=50))
    assert all(piece.tokens <= 50 for piece in pieces)
    assert (
        "".join(text_of(blocks).split()) == "".join("".join(piece.text for piece in pieces).split()) or pieces
    )


def test_the_event_loop_and_the_tokenizer_are_given_bounded_work():
    seen: list[tuple[int, int]] = []

    async def spy(given: Sequence[str]) -> Sequence[Tokenized]:
        seen.append((len(given), sum(map(len, given))))
        return await tokenize(given)

    run(chunked([paragraph(prose(1, 3_000)), *map(paragraph, WORDS * 20)], spy, tokens=50, most=60))
    assert max(count for count, _ in seen) <= cuts.BATCH_MOST
    assert max(chars for _, chars in seen) <= cuts.STRETCH_CHARS


@given(texts, st.integers(1, 40), st.booleans())
def test_a_long_text_is_looked_at_in_parts_and_its_places_are_those_of_the_whole(text, part, by_line):
    found: dict[int, int] = {}
    at = 0
    while at < len(text):
        first, at = at, boundaries.rest(text, at + part, len(text))
        found |= boundaries.levels(text, by_line=by_line, first=first, last=at)
    assert found == boundaries.levels(text, by_line=by_line)


@pytest.mark.parametrize("text", [prose(1, 6_000), "a" * 100_000, ". " * 50_000])
def test_of_a_large_block_bounded_parts_are_looked_at_and_others_have_their_turn_between(text, monkeypatch):
    looked: list[int] = []
    levels = boundaries.levels

    def spy(text: str, *, by_line: bool, first: int = 0, last: int | None = None) -> dict[int, int]:
        looked.append((len(text) if last is None else last) - first)
        return levels(text, by_line=by_line, first=first, last=last)

    async def steps() -> int:
        turns = 0

        async def counting() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counter = asyncio.create_task(counting())
        pieces = await chunked([paragraph(text)], tokenize, tokens=40, most=60)
        counter.cancel()
        assert turns >= len(pieces)
        return turns

    monkeypatch.setattr(boundaries, "levels", spy)
    run(steps())
    assert max(looked) <= 3 * cuts.STRETCH_CHARS


@pytest.mark.parametrize(
    ("tokens", "most", "overlap", "field"),
    [
        (0, 60, 10, "chunk_tokens"),
        (61, 60, 10, "chunk_tokens"),
        (10, 60, 51, "overlap_percent"),
        (2, 2, 0, "chunk_tokens"),
    ],
)
def test_windows_that_cannot_be_are_refused(tokens, most, overlap, field):
    with pytest.raises(Invalid) as told:
        cut([paragraph("A word.")], tokens=tokens, most=most, overlap=overlap)
    assert told.value.field == field


def test_a_document_of_too_many_pieces_is_refused_and_one_less_is_not(monkeypatch):
    blocks = [paragraph(prose(1, 40))]
    count = len(cut(blocks))
    monkeypatch.setattr(chunking, "PIECES_MOST", count)
    assert len(cut(blocks)) == count
    monkeypatch.setattr(chunking, "PIECES_MOST", count - 1)
    with pytest.raises(Invalid) as told:
        cut(blocks)
    assert told.value.reason == "too_large"


def test_nothing_gives_nothing():
    assert cut([]) == ()
    assert cut([paragraph(" \n "), heading("")]) == ()


SHORT = [f"{a}{b}{c}" for a in "bcdfghjklm" for b in "aeiou" for c in "bcdfghjklmnpqrstvwxz"]
"""A thousand words of one token each."""


def test_words_alone_are_cut_where_they_were_too():
    """Without a sentence's end anywhere every word is as good a place as any: the letters decide, not the count."""
    words = random.Random(1).choices(SHORT, k=6_000)
    was, now = (
        {piece.digest for piece in cut([paragraph(" ".join(each))], tokens=200, most=202)}
        for each in (words, ["new", *words])
    )
    assert len(was) > 30
    assert len(was - now) <= 15


def test_a_word_the_tokenizer_does_not_know_counts_by_its_length():
    async def unknown(given: Sequence[str]) -> Sequence[Tokenized]:
        return [Tokenized((1, 0, 2), ((0, 0), (0, len(text)), (0, 0))) for text in given]

    pieces = run(chunked([paragraph("a" * 100_000)], unknown, tokens=40, most=42))
    assert max(len(piece.text) for piece in pieces) <= 40 * cuts.LONG_CHARS


def test_the_last_window_is_no_crumb():
    for count in range(41, 120):
        pieces = cut([paragraph(" ".join(SHORT[:count]))], tokens=40, overlap=0)
        assert pieces[-1].tokens - 2 >= 10
