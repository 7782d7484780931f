"""The simulated provider's bytes: replies, stream chunks, usage and refusals as OpenAI writes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from penstock.kernel.money import Usage
from penstock.simulator.answers import Answer, ToolReply, pieces_of
from penstock.simulator.asked import Asked
from penstock.simulator.pen import HUGE_BYTES, half

JSON: Final = b"content-type: application/json\r\n"
SSE: Final = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
RATES: Final = (
    b"x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\nx-ratelimit-reset-requests: 6ms\r\n"
    b"x-ratelimit-limit-tokens: 10000000\r\nx-ratelimit-remaining-tokens: 9999000\r\nx-ratelimit-reset-tokens: 6ms\r\n"
)
DONE: Final = b"data: [DONE]\n\n"

_REFUSALS: Final = {
    # misbehaviour → status, type, code, message
    "rate_limit": (429, "requests", "rate_limit_exceeded", "Rate limit reached for this model on requests per min."),
    "rate_limit_no_hint": (429, "requests", "rate_limit_exceeded", "Rate limit reached for this model."),
    "quota": (
        429, "insufficient_quota", "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "spend_limit": (
        400, "invalid_request_error", "billing_hard_limit_reached", "Billing hard limit has been reached.",
    ),
    "server_error": (500, "server_error", "server_error", "The server had an error while processing your request."),
    "overloaded": (503, "server_error", "overloaded_error", "The engine is currently overloaded."),
}  # fmt: skip
MID_STREAM_ERROR: Final = (
    b'{"error":{"message":"The server had an error.",'
    b'"type":"server_error","param":null,"code":"server_error"}}'
)

encode: Final = msgspec.json.Encoder().encode


def list_models(models: Iterable[tuple[str, str]]) -> bytes:
    """Return the list of models, from (name, owner) pairs."""
    data = [
        {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": owner} for name, owner in models
    ]
    return encode({"object": "list", "data": data})


def usage_member(usage: Usage) -> dict[str, object]:
    """Return the `usage` member."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": 0},
    }


def _message(answer: Answer) -> dict[str, object]:
    message: dict[str, object] = {"role": "assistant", "content": "".join(answer.pieces), "refusal": None}
    if answer.tools:
        message["content"] = None
        message["tool_calls"] = [
            {"id": tool.id, "type": "function", "function": {"name": tool.name, "arguments": tool.arguments}}
            for tool in answer.tools
        ]
    return message


class Chunks:
    """Writes the chunks of one stream."""

    __slots__ = ("_head", "_tail")

    def __init__(self, id: str, created_s: int, model: str, *, usage_asked: bool) -> None:
        """With `usage_asked` every chunk carries ``"usage":null``, as OpenAI's do."""
        head = {"id": id, "object": "chat.completion.chunk", "created": created_s, "model": model}
        self._head = b'data: %b,"system_fingerprint":"fp_simulator","choices":[' % encode(head)[:-1]
        self._tail = b'],"usage":null}\n\n' if usage_asked else b"]}\n\n"

    def delta(self, index: int, delta: bytes, finish: str = "") -> bytes:
        """Return one chunk of choice `index`; `delta` is its JSON."""
        reason = b'"%b"' % finish.encode() if finish else b"null"
        choice = b'{"index":%d,"delta":%b,"logprobs":null,"finish_reason":%b}' % (index, delta, reason)
        return b"".join((self._head, choice, self._tail))

    def text(self, index: int, piece: str) -> bytes:
        """Return one chunk of text."""
        return self.delta(index, b'{"content":%b}' % encode(piece))

    def usage(self, usage: Usage) -> bytes:
        """Return the chunk that holds nothing but usage."""
        return b"".join((self._head, b'],"usage":', encode(usage_member(usage)), b"}\n\n"))

    def broken(self) -> bytes:
        """Return an event whose JSON stops in the middle."""
        return self._head + b'{"index":0,"delta":{"content":"bro\n\n'

    def events(self, index: int, answer: Answer) -> Iterator[tuple[bytes, int]]:
        """Yield the chunks of one choice up to its finish, each with the tokens it carries."""
        if not answer.tools:
            yield self.delta(index, b'{"role":"assistant","content":""}'), len(answer.thoughts)
        for piece in answer.pieces:
            yield self.text(index, piece), 1
        for number, tool in enumerate(answer.tools):
            yield from self._call(index, number, tool, 0 if number else len(answer.thoughts))

    def _call(self, index: int, number: int, tool: ToolReply, thoughts: int) -> list[tuple[bytes, int]]:
        start = {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "index": number,
                    "id": tool.id,
                    "type": "function",
                    "function": {"name": tool.name, "arguments": ""},
                }
            ],
        }
        events = [(self.delta(index, encode(start)), 1 + thoughts)]
        for piece in pieces_of(tool.arguments):
            part = {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}
            events.append((self.delta(index, encode(part)), 1))
        return events


class OpenAIPen(Chunks):
    """The pen of this wire. Thoughts are counted and never shown."""

    __slots__ = ("_created_s", "_id", "_model", "_told")

    def __init__(self, id: str, created_s: int, asked: Asked, told: str) -> None:
        """Write the answer `id` to `asked`; `told` is how it tells usage (`pen.told_of`)."""
        super().__init__(id, created_s, asked.model, usage_asked=asked.tells_usage)
        self._id = id
        self._created_s = created_s
        self._model = asked.model
        self._told = told

    def refusal(self, kind: str, seconds: float) -> tuple[int, bytes, bytes]:
        """Return status, header lines and body."""
        status, family, code, message = _REFUSALS[kind]
        headers = JSON
        if kind == "rate_limit":
            headers += b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (
                max(1, round(seconds)),
                round(seconds * 1000),
            )
        body = {"error": {"message": message, "type": family, "param": None, "code": code}}
        return status, headers, encode(body)

    def headers(self, *, streamed: bool) -> bytes:
        """Return the header lines of an answer."""
        kind = SSE if streamed else JSON
        return b"%bx-request-id: %b\r\nopenai-processing-ms: 1\r\n%b" % (kind, self._id.encode(), RATES)

    def whole(self, answers: tuple[Answer, ...], usage: Usage | None) -> bytes:
        """Return a whole reply."""
        reply: dict[str, object] = {
            "id": self._id,
            "object": "chat.completion",
            "created": self._created_s,
            "model": self._model,
            "choices": [
                {
                    "index": index,
                    "message": _message(answer),
                    "logprobs": None,
                    "finish_reason": answer.finish,
                }
                for index, answer in enumerate(answers)
            ],
            "service_tier": "default",
            "system_fingerprint": "fp_simulator",
        }
        if usage is not None:
            reply["usage"] = usage_member(usage)
        return encode(reply)

    def whole_error(self) -> bytes:
        """Return an error's body."""
        return MID_STREAM_ERROR

    def finish(self, index: int, answer: Answer) -> bytes:
        """Return the chunk that finishes one choice."""
        return self.delta(index, b"{}", answer.finish)

    def huge(self) -> bytes:
        """Return a chunk of much text."""
        return self.text(0, "x" * HUGE_BYTES)

    def error(self) -> bytes:
        """Return the event of an error."""
        return b"data: " + MID_STREAM_ERROR + b"\n\n"

    def end(self, usage: Usage | None) -> tuple[bytes, bytes]:
        """Return usage as told, and the mark."""
        if usage is None:
            return DONE, b""
        last = self.usage(usage)
        if self._told == "late":
            return DONE, last
        return (self.usage(half(usage)) if self._told == "twice" else b"") + last + DONE, b""
