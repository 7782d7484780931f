"""Documents as callers write them: a list is taken whole or not at all, lines one by one; ids can stand in paths."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from penstock.embedding.catalog.events import TAG_CHARS_MOST, tag_of
from penstock.embedding.collections_wire import (
    LINE,
    LINES_MOST,
    parse_collection,
    parse_documents,
    parse_lines,
)
from penstock.kernel.errors import Invalid

MOST = 100


def listed(*documents: Any) -> bytes:
    """Return a call with documents."""
    return json.dumps({"documents": documents}).encode()


def refused(body: bytes) -> Invalid:
    """Return why a list is not taken."""
    with pytest.raises(Invalid) as error:
        parse_documents(body, MOST)
    assert error.value.remedy
    return error.value


def test_a_document_is_text_or_bytes_and_says_what_it_is() -> None:
    whole = {
        "id": "guides/a.md", "text": "é", "name": "a.md", "title": "A", "url": "https://a.example/a", "language": "fr",
        "version": "7", "metadata": {"year": 2024, "draft": False, "by": "mia"}, "acl": ["staff", "board"],
    }  # fmt: skip
    one, other = parse_documents(listed(whole, {"content": b64encode(b"%PDF").decode()}), MOST)
    assert (one.id, one.content, one.media_type, one.labels) == (
        "guides/a.md", "é".encode(), "", ("staff", "board"),
    )  # fmt: skip
    assert one.metadata == {"year": 2024, "draft": False, "by": "mia"} and one.version == "7"
    assert other.content == b"%PDF" and other.id.startswith("doc_")
    [again] = parse_documents(listed({"content": b64encode(b"%PDF").decode()}), MOST)
    assert again.id == other.id, "what is sent twice is one document"
    assert (
        one.source("job_1").print
        != parse_documents(listed({**whole, "acl": ["staff"]}), MOST)[0].source("").print
    )
    assert one.source("job_1").print == one.source("job_2").print


@pytest.mark.parametrize("name", ["", "a/../b", "/a", "a//b", "a/.", "a\\b", "a\tb", "a\u0000b", "é" * 129])
def test_an_id_that_could_not_stand_in_a_path_is_refused(name: str) -> None:
    if name:
        assert (
            refused(listed({"id": "ok", "text": "a"}, {"id": name, "text": "a"})).field == "documents[1].id"
        )
    else:
        assert parse_documents(listed({"id": "", "text": "a"}), MOST)[0].id


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"id": "a"}, "documents[0].text"),
        ({"id": "a", "text": "a", "content": ""}, "documents[0].text"),
        ({"id": "a", "text": ""}, "documents[0].text"),
        ({"id": "a", "text": "a" * (MOST + 1)}, "documents[0].text"),
        ({"id": "a", "content": "a"}, "documents[0].content"),
        ({"id": "a", "text": 1}, "documents[0].text"),
        ({"id": "a", "text": "a", "titel": "A"}, "documents[0]"),
        ({"id": "a", "text": "a", "metadata": {"a": [1]}}, "documents[0].metadata"),
        ({"id": "a", "text": "a", "metadata": {"a": 2**53 + 1}}, "documents[0].metadata.a"),
        ({"id": "a", "text": "a", "metadata": {"a": "b" * 16_000}}, "documents[0].metadata"),
        ({"id": "a", "text": "a", "acl": [""]}, "documents[0].acl"),
    ],
)
def test_what_is_wrong_with_a_document_is_named(document: dict[str, Any], field: str) -> None:
    assert refused(listed(document)).field.startswith(field)


def test_a_text_at_the_bound_is_taken() -> None:
    assert len(parse_documents(listed({"id": "a", "text": "a" * MOST}), MOST)[0].content) == MOST


def test_lines_that_are_none_are_told_apart() -> None:
    lines = [
        {"id": "a", "text": "1"},
        "{",
        {"id": "b"},
        {"id": "a", "text": "2"},
        "",
        {"id": "line\t2", "text": "x"},
    ]
    body = "\n".join([each if isinstance(each, str) else json.dumps(each) for each in lines]).encode()
    sent, unread = parse_lines(body, MOST)
    assert [(each.id, each.content) for each in sent] == [("a", b"2")]
    assert {name.removeprefix(LINE): each.retryable for name, each in unread.items()} == {
        "2": False, "3": False, "6": False,
    }  # fmt: skip
    for none in (b"", b"\n\n", b"{}\n" * (LINES_MOST + 1)):
        with pytest.raises(Invalid, match="lines of JSON"):
            parse_lines(none, MOST)


@pytest.mark.parametrize("name", ["", "A", "-a", "a:b", "a/b", "a" * 64])
def test_a_collections_name_is_plain(name: str) -> None:
    with pytest.raises(Invalid) as error:
        parse_collection(json.dumps({"name": name}).encode())
    assert error.value.field == "name"
    assert parse_collection(b'{"name": "a.b_c-9"}').name == "a.b_c-9"


def test_a_tag_can_stand_in_a_header() -> None:
    for document in ("a", "a, b", "ü" * 100, "x" * 300, "a/b.md"):
        tag = tag_of("guides", document)
        assert len(tag) <= TAG_CHARS_MOST and tag.isascii() and tag.isprintable() and "," not in tag
    assert tag_of("guides", "a/b.md") == "doc:guides/a/b.md"
    assert len({tag_of("guides", name) for name in ("a,b", "a%2Cb", "x" * 300, "x" * 301)}) == 4
