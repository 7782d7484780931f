"""What vendors say that the simulator does not: refusals in each wire's own words, and replies that are no replies."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.faults.case import Raw

JSON = "application/json"


def reply(status: int, body: bytes | str, kind: str = JSON, *lines: str) -> Raw:
    """Return a whole reply as it is."""
    data = body.encode() if isinstance(body, str) else body
    head = [f"HTTP/1.1 {status} So", f"content-type: {kind}", f"content-length: {len(data)}", *lines]
    return Raw("\r\n".join([*head, "connection: close", "", ""]).encode() + data)


def streamed(*events: str, drip: bytes = b"", hangs: bool = False) -> Raw:
    """Return a stream that ends when the connection does."""
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    return Raw((head + "".join(events)).encode(), drip=drip, hangs=hangs)


def refusal(status: int, openai: str, anthropic: str, gemini: str, message: str) -> Mapping[str, Raw]:
    """Return one refusal in the words of each wire: OpenAI's code, Anthropic's type, Google's status."""
    told: dict[str, object] = {
        "openai": {
            "error": {"message": message, "type": "invalid_request_error", "param": None, "code": openai}
        },
        "anthropic": {"type": "error", "error": {"type": anthropic, "message": message}},
        "gemini": {"error": {"code": status, "message": message, "status": gemini}},
    }
    return {wire: reply(status, json.dumps(body)) for wire, body in told.items()}


UNAUTHENTICATED = refusal(
    401, "invalid_api_key", "authentication_error", "UNAUTHENTICATED", "This key is not valid."
)
FORBIDDEN = refusal(403, "", "permission_error", "PERMISSION_DENIED", "This project may not use the model.")
NO_MODEL = refusal(404, "model_not_found", "not_found_error", "NOT_FOUND", "The model does not exist.")
OVERFLOW = {
    **refusal(
        400,
        "context_length_exceeded",
        "invalid_request_error",
        "",
        "prompt is too long: 9 tokens > 8 maximum",
    ),
    "gemini": refusal(
        400, "", "", "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens (8)."
    )["gemini"],
}
INVALID = refusal(
    400, "invalid_value", "invalid_request_error", "INVALID_ARGUMENT", "temperature must be below 2."
)
FILTERED = refusal(
    400, "content_filter", "", "", "The response was filtered due to the content management policy."
)["openai"]
REDIRECT = reply(307, "", "text/plain", "location: http://127.0.0.1:1/elsewhere")
HTML_502 = reply(502, "<html><body><h1>502 Bad Gateway</h1></body></html>", "text/html")
HTML_200 = reply(200, "<html><body>Please sign in to the network.</body></html>", "text/html")
EMPTY = reply(200, "")
NOT_HTTP = Raw(b"220 mail.example ESMTP ready\r\n")
NO_RETRY = reply(500, '{"error":{"message":"No."}}', JSON, "x-should-retry: false")
TOO_LARGE = Raw(
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 40000000\r\n\r\n{", hangs=True
)


def _openai(usage: str, kind: str = JSON, *lines: str) -> Raw:
    return reply(
        200,
        '{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":'
        f'"assistant","content":"A short answer."}},"finish_reason":"stop"}}],"usage":{usage}}}',
        kind,
        *lines,
    )


GOOD = '{"prompt_tokens":8,"completion_tokens":4,"total_tokens":12}'
GOOD_NANOS = 8 * 150 + 4 * 600
"""What `GOOD` costs at the stage's prices."""
PLAIN_TEXT = _openai(GOOD, "text/plain")
WHOLE = _openai(GOOD)
ZEROES = _openai('{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}')
IMPOSSIBLE = _openai(
    '{"prompt_tokens":8,"completion_tokens":4,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":9}}'
)
BLOCKED = reply(
    200,
    '{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":8,"totalTokenCount":8},'
    '"modelVersion":"m"}',
)


def _chunk(delta: str, finish: str = "null") -> str:
    return (
        'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
        f'{delta},"finish_reason":{finish}}}]}}\n\n'
    )


_USAGE = (
    'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":'
    f"{GOOD}}}\n\n"
)
_TEXT = _chunk('{"content":"Half an answer"}')
_HALVES = {
    "openai": _chunk('{"role":"assistant","content":""}') + _TEXT,
    "anthropic": 'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":'
    '"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":8,'
    '"output_tokens":1}}}\n\nevent: content_block_start\ndata: {"type":"content_block_start","index":0,'
    '"content_block":{"type":"text","text":""}}\n\nevent: content_block_delta\ndata: {"type":'
    '"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Half an answer"}}\n\n',
    "gemini": 'data: {"candidates":[{"content":{"role":"model","parts":[{"text":"Half an answer"}]},"index":0}],'
    '"modelVersion":"m"}\n\n',
}
NO_END = {wire: streamed(half) for wire, half in _HALVES.items()}
"""A stream that HTTP ends well and its dialect does not."""
NO_MARK = streamed(_HALVES["openai"], _chunk("{}", '"stop"'), _USAGE)
"""A stream with a finish and usage, and no ``[DONE]``: not everybody sends it."""
CUT_BY_FILTER = streamed(_HALVES["openai"], _chunk("{}", '"content_filter"'), _USAGE, "data: [DONE]\n\n")
ONLY_COMMENTS = streamed(drip=b": still thinking\n\n")
ENDLESS = streamed(_HALVES["openai"], drip=_TEXT.encode())
HALF_AN_EVENT = streamed(_HALVES["openai"], _TEXT[:30])
NO_EVENTS = streamed()


_OPENAI_LIMIT = ("x-ratelimit-limit-requests: 100", "x-ratelimit-reset-requests: 1m0s")
_ANTHROPIC_LIMIT = (
    "anthropic-ratelimit-requests-limit: 100",
    "anthropic-ratelimit-requests-reset: 2100-01-01T00:00:00Z",
)
NEARLY_SPENT = {
    "openai": _openai(GOOD, JSON, *_OPENAI_LIMIT, "x-ratelimit-remaining-requests: 1"),
    "anthropic": reply(
        200,
        '{"id":"m","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"A short answer."'
        '}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":8,"output_tokens":4}}',
        JSON,
        *_ANTHROPIC_LIMIT,
        "anthropic-ratelimit-requests-remaining: 1",
    ),
}
"""A good answer whose vendor has room for one request more."""
SPENT = {
    "openai": reply(
        429,
        '{"error":{"message":"Slow down.","type":"requests","param":null,"code":"rate_limit_exceeded"}}',
        JSON,
        *_OPENAI_LIMIT,
        "x-ratelimit-remaining-requests: 0",
    ),
    "anthropic": reply(
        429,
        '{"type":"error","error":{"type":"rate_limit_error","message":"Slow down."}}',
        JSON,
        *_ANTHROPIC_LIMIT,
        "anthropic-ratelimit-requests-remaining: 0",
    ),
}
"""A refusal that tells the limit, too."""
