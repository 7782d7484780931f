"""What crosses the wire in every measurement: one request of about 1 KB, one reply of 617 bytes, one stream of
64 content chunks. Promise: the same bytes for every target, but for the model's name and the caller's headers.

The text of the request carries the marker `[paced]` when the upstream is to leave 10 ms between events, because text
is the one thing that every gateway passes on untouched; a header or a path would not survive all of them. The
marker `[sentences]` asks for a stream in which every eighth chunk ends a sentence; the load generator makes the digits
of `[nth 0000000000]` another number in each request. Who asks for JSON (`response_format`) is answered with some.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

CHAT_PATH = "/v1/chat/completions"
UPSTREAM_MODEL = "gpt-4o-mini"
PACED_MARK = "[paced]"
PACE_S = 0.010
SENTENCES_MARK = "[sentences]"
NTH_MARK = "[nth 0000000000]"
CHUNKS = 64
EVENTS = CHUNKS + 2  # the content, the usage chunk, [DONE]
REPLY_BYTES = 617
REQUEST_BYTES = 1000
STAMP_DIGITS = 20
PROMPT_TOKENS = 212

_SYSTEM = (
    "You are a careful assistant of a small shop. Answer in the customer's language, briefly and politely."
)
_QUESTION = (
    "My parcel was to arrive last Tuesday and the tracking page has shown the same town for four days. "
    "I have written twice and nobody answered. Please tell me where it is and what you will do about it. "
)


def request_body(
    model: str,
    *,
    stream: bool,
    paced: bool = False,
    words: str = "",
    members: Mapping[str, object] | None = None,
) -> bytes:
    """The JSON of one chat request, `REQUEST_BYTES` long give or take the model's name.

    `words` open the question; `members` are said besides, or instead of the usual ones.
    """
    head: dict[str, object] = {"model": model, "max_tokens": CHUNKS, "temperature": 0.2, **(members or {})}
    if stream:
        head["stream"] = True
        head["stream_options"] = {"include_usage": True}

    def rendered(question: str) -> bytes:
        messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": question}]
        return msgspec.json.encode({**head, "messages": messages})

    question = (PACED_MARK + " " if paced else "") + (words + " " if words else "") + _QUESTION
    short = max(0, REQUEST_BYTES - len(rendered(question)))
    return rendered(question + (_QUESTION * 10)[:short])


def messages_body(model: str, *, stream: bool) -> bytes:
    """The JSON of the same request as Anthropic's SDK says it."""
    said = msgspec.json.decode(request_body(model, stream=stream))
    said.pop("stream_options", None)
    system, user = said["messages"]
    return msgspec.json.encode({**said, "system": system["content"], "messages": [user]})


def reply_body(*, is_json: bool = False) -> bytes:
    """The JSON of one full reply, `REPLY_BYTES` long, with usage; `is_json`: its text is JSON too."""

    def rendered(text: str) -> bytes:
        message = {"role": "assistant", "content": text, "refusal": None}
        return msgspec.json.encode(
            {
                "id": "chatcmpl-bench000000000000000000",
                "object": "chat.completion",
                "created": 1_790_000_000,
                "model": UPSTREAM_MODEL,
                "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
                "usage": _usage(),
                "system_fingerprint": "fp_bench",
            }
        )

    words = "Your parcel left the depot this morning and will reach you tomorrow. " * 10
    opening, closing = ('{"days":1,"answer":"', '"}') if is_json else ("", "")
    return rendered(opening + words[: REPLY_BYTES - len(rendered(opening + closing))] + closing)


def stream_events(text_of_chunk: str, *, ends_sentence: str = "") -> list[bytes]:
    """The `EVENTS` payloads of a stream, each one server-sent event; every content chunk says `text_of_chunk`, and
    every eighth `ends_sentence` besides.
    """
    texts = [text_of_chunk + (ends_sentence if at % 8 == 7 else "") for at in range(CHUNKS)]
    contents = [_chunk({"content": text}, None) for text in texts]
    contents[0] = _chunk({"role": "assistant", "content": texts[0]}, None)
    contents[-1] = _chunk({"content": texts[-1]}, "stop")
    usage = msgspec.json.encode({**_chunk_head(), "choices": [], "usage": _usage()})
    return [b"data: " + data + b"\n\n" for data in (*contents, usage, b"[DONE]")]


def _usage() -> dict[str, int]:
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": CHUNKS,
        "total_tokens": PROMPT_TOKENS + CHUNKS,
    }


def _chunk_head() -> dict[str, object]:
    return {
        "id": "chatcmpl-bench000000000000000000",
        "object": "chat.completion.chunk",
        "created": 1_790_000_000,
        "model": UPSTREAM_MODEL,
        "system_fingerprint": "fp_bench",
    }


def _chunk(delta: dict[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return msgspec.json.encode({**_chunk_head(), "choices": [choice], "usage": None})
