"""SSE: the same events at every split, in every mixture of line ends, within the bound."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.errors import Upstream
from penstock.net.sse import SseEvent, SseParser, SseSplitter, parse_event, render_event

OPENAI = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\ndata: {"usage":{"total_tokens":3}}\n\ndata: [DONE]\n\n'
MIXED = (
    b"\xef\xbb\xbf: hello\r\n\r\nevent: message_start\r\ndata: {'a':1}\r\n\r\n"
    b"data: one\rdata: two\r\rid: 7\ndata\n\n\n\nretry: 250\ndata:x\r\r\n"
    b"event: ping\n\nid: bad\0id\ndata:  two blanks\n\n:only a comment\n\ndata: tail"
)


def parsed(pieces: list[bytes]) -> list[SseEvent]:
    """Every dispatched event of a stream fed in `pieces`."""
    parser = SseParser()
    return [event for piece in pieces for event in parser.feed(piece)]


def by_the_book(stream: bytes) -> list[tuple[bytes, bytes]]:
    """(event, data) of each dispatched event, by the standard's own steps, from the whole stream at once."""
    found: list[tuple[bytes, bytes]] = []
    data, name = b"", b""
    *lines, _unfinished = re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf"))
    for line in lines:
        if not line:
            if data:
                found.append((name or b"message", data.removesuffix(b"\n")))
            data, name = b"", b""
        elif not line.startswith(b":"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data += value + b"\n"
            elif field == b"event":
                name = value
    return found


@pytest.mark.parametrize(
    "stream", [OPENAI, MIXED, OPENAI.replace(b"\n", b"\r\n"), OPENAI.replace(b"\n", b"\r")]
)
def test_every_two_way_split_of_a_stream_gives_the_same_events(stream: bytes) -> None:
    """Given a stream, when cut at any one place, then the events are those of the standard's algorithm."""
    whole = parsed([stream])
    assert [(event.event, event.data) for event in whole] == by_the_book(stream)
    for at in range(len(stream) + 1):
        assert parsed([stream[:at], stream[at:]]) == whole, at


@pytest.mark.parametrize("stream", [OPENAI, MIXED])
def test_byte_by_byte_gives_the_same_events(stream: bytes) -> None:
    """The smallest pieces there are."""
    assert parsed([stream[at : at + 1] for at in range(len(stream))]) == parsed([stream])


PIECES = st.sampled_from([
    b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"data: a", b"data:", b"data", b"event: e", b"id: 1", b": c", b"x",
    b" ",     b"\xef\xbb\xbf", b"\xef", b"data: b\n\n", b"data: c\ndata: d\r\n\r\n", b"event: f\ndata: g\r\r",
])  # fmt: skip


@given(st.lists(PIECES, max_size=24), st.data())
def test_any_stream_at_any_splits_agrees_with_the_standard(words: list[bytes], data: st.DataObject) -> None:
    """Given any mixture of fields and line ends, when cut anywhere, then the standard's events come out."""
    stream = b"".join(words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    edges = [0, *cuts, len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    events = [(event.event, event.data) for event in parsed(pieces)]
    expected = by_the_book(stream)
    # the standard needs one more byte to end a line with CR; a live stream may not wait for it
    assert events[: len(expected)] == expected
    assert len(events) - len(expected) <= (1 if stream.endswith(b"\r") else 0)


def test_blocks_in_a_row_are_the_stream() -> None:
    """Pass-through loses nothing: the raw blocks and the rest are the bytes that came in."""
    for at in range(3, len(MIXED)):
        splitter = SseSplitter()
        blocks = splitter.feed(MIXED[:at]) + splitter.feed(MIXED[at:])
        assert b"".join(blocks) + splitter.finish() == MIXED[3:]
    splitter = SseSplitter()
    blocks = splitter.feed(OPENAI[:60]) + splitter.feed(OPENAI[60:] + b"data: unfin")
    assert b"".join(blocks) + splitter.finish() == OPENAI + b"data: unfin"
    assert len(blocks) == 3


@pytest.mark.parametrize("step", [1, 7, 64, 1000])
def test_an_event_at_the_bound_passes_and_one_byte_more_raises(step: int) -> None:
    """At 64 bytes with its blank line: an event; at 65: `sse_event_too_large`, after the events before it."""

    def blocks(size: int) -> list[bytes]:
        stream = b"data: ok\n\n" + b"data: " + b"x" * (size - 8) + b"\n\n"
        splitter = SseSplitter(max_event_bytes=64)
        found = [
            block for at in range(0, len(stream), step) for block in splitter.feed(stream[at : at + step])
        ]
        splitter.finish()
        return found

    assert [len(block) for block in blocks(63)] == [10, 63]
    assert [len(block) for block in blocks(64)] == [10, 64]
    with pytest.raises(Upstream) as refused:
        blocks(65)
    assert refused.value.reason == "sse_event_too_large"
    assert refused.value.limit == 64


def test_events_before_an_oversized_one_are_not_lost() -> None:
    """Given a good event and a flood in one piece, then the event comes out and the next call raises."""
    splitter = SseSplitter(max_event_bytes=32)
    assert splitter.feed(b"data: ok\n\n" + b"x" * 100) == [b"data: ok\n\n"]
    with pytest.raises(Upstream):
        splitter.feed(b"\n\n")
    with pytest.raises(Upstream):
        splitter.finish()


def test_a_flood_without_line_ends_is_bounded_in_memory() -> None:
    """The splitter never holds more than the bound and one piece."""
    splitter = SseSplitter(max_event_bytes=1000)
    for _ in range(10):
        splitter.feed(b"x" * 100)
        assert splitter.pending_bytes <= 1000
    with pytest.raises(Upstream):
        splitter.feed(b"x")
    assert splitter.pending_bytes == 0


def test_fields_follow_the_standard() -> None:
    """Names, ids, reconnection times, values with one blank or several, and what must be ignored."""
    assert parse_event(b"data: [DONE]\n\n") == SseEvent(b"message", b"[DONE]", None, None)
    assert parse_event(b"event: e\nid: 1\nretry: 10\ndata: a\ndata:b\ndata\n\n") == SseEvent(
        b"e", b"a\nb\n", b"1", 10
    )
    assert parse_event(b"retry: 1x\nid: a\0b\nunknown: 1\n: c\n\n") == SseEvent(b"message", None, None, None)
    assert parse_event(b"data:  two\n\n").data == b" two"
    parser = SseParser()
    assert parser.feed(b"id: 9\n\n") == []
    assert parser.last_event_id == b"9"


@given(st.binary(max_size=200), st.sampled_from([None, b"ping", b"message_stop"]))
def test_rendered_events_parse_back(data: bytes, name: bytes | None) -> None:
    """Line ends inside data become LF, as the standard has it; everything else survives."""
    events = parsed([b": start\n\n", render_event(data, name)])
    assert events == [SseEvent(name or b"message", re.sub(rb"\r\n|\r", b"\n", data), None, None)]
