"""What every index must keep about words: promise 9 of `ports/index.py` as cases."""

from __future__ import annotations

from itertools import pairwise

from penstock.contracts.case import Contract, Harness, expect
from penstock.contracts.index_search import SPACE, document, ids, place
from penstock.ports.index import Index, Question

WORDS: Contract[Index] = Contract("index")

STEMS = (
    ("en", "The children were running across bridges.", "run bridge"),
    ("", "Several engines started quickly.", "engine"),
    ("de", "Die alten Häuser stehen am Fluss.", "Haus"),
    ("fr", "Les conditions générales s'appliquent.", "condition générale"),
    ("es", "Las bibliotecas abrieron temprano.", "biblioteca"),
)
"""A language, a text in it, and words that it has in another form."""

UNSPACED = (
    ("ja", "東京都庁は新宿区にあります。", "新宿"),
    ("ja", "データベースを移行する手順", "移行"),
    ("", "検索エンジンの仕組み", "エンジン"),
    ("zh", "我们在上海的办公室签署了合同", "合同"),
    ("zh", "人工智能改变了软件工程", "软件工程"),
    ("ko", "서울특별시청에서회의가열립니다", "회의"),
    ("th", "ประเทศไทยมีอากาศร้อน", "อากาศ"),
    ("en", "The word 東京 means eastern capital", "東京"),
)
"""A language, a text in which words are not parted by spaces, and a word of it."""

HOSTILE = (
    'water" OR text:*',
    "water AND NOT",
    "((((water",
    "+water -water",
    "text:water",
    "[a TO z] water",
    "water~2 water^9 water*",
    "/.*/ water",
    "water' OR 1=1; --",
    "water & | ! <-> :*",
    "water \x00 NUL",
    "\\water\\ water",
)
"""Words that a query language would trip over; each has the word "water" in it."""


@WORDS.case(9)
async def stems_meet_in_the_documents_language(h: Harness[Index]) -> None:
    """Another form of a word finds it when the language is said on both sides; its own form finds it always."""
    here = place(h)
    await h.port.put(here, SPACE, [document(text, text, language=language) for language, text, _ in STEMS])
    for language, text, words in STEMS:
        for word in words.split():
            found = ids((await h.port.search(here, SPACE, Question(words=word, language=language))).words)
            expect(found[:1] == [text], "the stem is found", language=language, word=word, found=found)
        for word in text.rstrip(".").split():
            for said in ("", "en", "de", "xx", "not a language"):
                found = ids((await h.port.search(here, SPACE, Question(words=word, language=said))).words)
                if word.lower() not in {"the", "were", "die", "am", "les", "las", "several", "across"}:
                    expect(text in found, "the very word is found", word=word, said=said, found=found)


@WORDS.case(9)
async def words_need_no_spaces_between_them(h: Harness[Index]) -> None:
    """Chinese, Japanese, Korean and Thai words inside a run, in documents of a said and of no said language."""
    here = place(h)
    await h.port.put(here, SPACE, [document(text, text, language=language) for language, text, _ in UNSPACED])
    for language, text, word in UNSPACED:
        for said in {language, ""}:
            found = ids((await h.port.search(here, SPACE, Question(words=word, language=said))).words)
            expect(found[:1] == [text], "the word is found first", word=word, said=said, found=found)
    nothing = ids((await h.port.search(here, SPACE, Question(words="大阪"))).words)
    expect(not nothing, "what stands nowhere is not found", found=nothing)


@WORDS.case(9)
async def any_word_finds_and_the_rare_one_weighs_more(h: Harness[Index]) -> None:
    """Any word is enough; more of them and rarer ones rank first; a word that is nowhere does no harm."""
    here = place(h)
    filler = [document(f"filler {i}", f"water and stone and wood number{i}") for i in range(40)]
    await h.port.put(
        here,
        SPACE,
        [
            *filler,
            document("rare", "the penstock and stone and wood thing"),
            document("both", "the penstock and water and wood thing"),
            document("often", "aqueduct aqueduct aqueduct and wood thing"),
            document("once", "aqueduct and some stone and other wood thing"),
        ],
    )
    found = ids((await h.port.search(here, SPACE, Question(words="water penstock nosuchword"))).words)
    expect(
        found[:2] == ["both", "rare"], "both words before the rare one before the common one", found=found[:5]
    )
    expect(len(found) == 42, "any word is enough", found=len(found))
    found = ids((await h.port.search(here, SPACE, Question(words="aqueduct"))).words)
    expect(found == ["often", "once"], "more often is more", found=found)
    hits = (await h.port.search(here, SPACE, Question(words="water penstock"))).words
    expect(all(one.score >= other.score > 0 for one, other in pairwise(hits)), "scores fall")


@WORDS.case(2, 9)
async def words_are_never_a_query(h: Harness[Index]) -> None:
    """Operators, quotes, brackets, fields, patterns: their words count, and nothing else; none is an error."""
    here = place(h)
    await h.port.put(here, SPACE, [document("wet", "water"), document("dry", "desert sand")])
    for words in HOSTILE:
        found = ids((await h.port.search(here, SPACE, Question(words=words))).words)
        expect(found == ["wet"], "what has the word, and only that", words=words, found=found)
    for words in ("", " ", "*", '""', "!!! ??? ---", "\x00", "🜁", "AND", "a" * 20_000, "x " * 20_000):
        found = ids((await h.port.search(here, SPACE, Question(words=words))).words)
        expect(not found, "nothing to look for finds nothing", words=words[:20], found=found)
