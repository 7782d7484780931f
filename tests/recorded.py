"""Streams as vendors send them: 60 of them, whole, made from what each flavour is known to do on the wire.

Promise: deterministic; every stream ends as its vendor ends it, well or badly; nothing here knows how they are read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from penstock.kernel.money import Usage
from penstock.simulator.answers import Answer, ToolReply, prose
from penstock.simulator.wire import DONE, MID_STREAM_ERROR, Chunks

WORDS = (
    "naïve ",
    "水が",
    "流れる。",
    " 💧",
    "\\u00e9",
    '"quoted"',
    "line\nbreak",
    "\ttab",
    "data: [DONE]",
    "}\n\n{",
    " ",
)
USAGE = Usage(input_tokens=17, output_tokens=9)


def streams() -> dict[str, bytes]:
    """Return the streams by name."""
    found: dict[str, bytes] = {}
    for flavour, make in FLAVOURS.items():
        for number, answer in enumerate(_answers()):
            found[f"{flavour} {number}"] = make(answer)
    return found


def _answers() -> Iterator[Answer]:
    """Text of several lengths, texts that look like framing, and calls of tools."""
    yield Answer(pieces=prose(3, 12))
    yield Answer(pieces=WORDS)
    yield Answer(
        tools=(ToolReply("call_1", "read_gauge", '{"gauge": "in\\"take", "day": 3}'),), finish="tool_calls"
    )
    yield Answer(
        tools=(ToolReply("call_1", "read_gauge", "{}"), ToolReply("call_2", "write", '{"text": "a b"}')),
        finish="tool_calls",
    )
    yield Answer(pieces=("",), finish="content_filter")


def _events(answer: Answer, choices: int = 1) -> list[bytes]:
    chunks = Chunks("chatcmpl-1", 1_700_000_000, "m", usage_asked=True)
    found: list[bytes] = []
    for choice in range(choices):
        found += [event for event, _ in chunks.events(choice, answer)]
        found.append(chunks.delta(choice, b"{}", answer.finish))
    return [*found, chunks.usage(USAGE)]


def _openai(answer: Answer) -> bytes:
    return b"".join([*_events(answer), DONE])


def _two_choices(answer: Answer) -> bytes:
    return b"".join([*_events(answer, 2), DONE])


def _carriage_returns(answer: Answer) -> bytes:
    return _openai(answer).replace(b"\n", b"\r\n")


def _marked(answer: Answer) -> bytes:
    return b"\xef\xbb\xbf" + _openai(answer)


def _openrouter(answer: Answer) -> bytes:
    """Comments before and between the events."""
    return b": OPENROUTER PROCESSING\n\n" * 3 + b": OPENROUTER PROCESSING\n\n".join([*_events(answer), DONE])


def _vllm(answer: Answer) -> bytes:
    """Usage so far in every chunk (`continuous_usage_stats`)."""
    found: list[bytes] = []
    for number, event in enumerate(_events(answer)[:-1]):
        chunk = json.loads(event[6:])
        chunk["usage"] = {"prompt_tokens": 17, "completion_tokens": number, "total_tokens": 17 + number}
        found.append(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    return b"".join([*found, _events(answer)[-1], DONE])


def _ollama(answer: Answer) -> bytes:
    """No blank after the colon, the usage in the chunk that also has the finish reason."""
    events = _events(answer)[:-1]
    last = json.loads(events[-1][6:])
    last["usage"] = {"prompt_tokens": 17, "completion_tokens": 9, "total_tokens": 26}
    events[-1] = b"data: " + json.dumps(last).encode() + b"\n\n"
    return b"".join([*events, DONE]).replace(b"data: {", b"data:{")


def _named(answer: Answer) -> bytes:
    """Events with names, ids and a reconnection time."""
    named = [
        b"event: message\nid: %d\nretry: 3000\n%b" % (n, event) for n, event in enumerate(_events(answer))
    ]
    return b"".join([*named, DONE])


def _many_lines(answer: Answer) -> bytes:
    """One event's data over several `data:` lines, as the standard allows."""
    return b"".join(
        [event.replace(b',"choices"', b',\ndata: "choices"') for event in _events(answer)] + [DONE]
    )


def _no_mark(answer: Answer) -> bytes:
    """No `[DONE]`: the connection just ends after the finish reason and the usage."""
    return b"".join(_events(answer))


def _error(answer: Answer) -> bytes:
    """The vendor gives up in the middle."""
    return b"".join([*_events(answer)[:2], b"data: " + MID_STREAM_ERROR + b"\n\n"])


def _broken(answer: Answer) -> bytes:
    """An event that is no JSON in the middle."""
    events = _events(answer)
    return b"".join(
        [*events[:2], b'data: {"choices":[{"index":0,"delta":{"content":"bro\n\n', *events[2:], DONE]
    )


FLAVOURS: dict[str, Callable[[Answer], bytes]] = {
    "openai": _openai,
    "two choices": _two_choices,
    "CRLF": _carriage_returns,
    "byte-order mark": _marked,
    "comments": _openrouter,
    "usage in every chunk": _vllm,
    "usage with the finish": _ollama,
    "named events": _named,
    "several data lines": _many_lines,
    "no end mark": _no_mark,
    "error in the middle": _error,
    "broken in the middle": _broken,
}
