"""What accounting must know of an answer on the Gemini wire, read without taking the answer apart.

Promises
- `read_reply_facts` and `StreamFacts.feed` decode the few typed members below and skip the rest: under 2 µs.
- Every event of a stream repeats the usage so far: the last one counts, none is "repeated"; a figure that went down
  sets `usage_decreased`. Counts written as strings are counts.
- Gemini sends no success mark. `done` is set once every candidate seen has a finish reason, or the prompt was blocked.
- Finish reasons are in the words of `kernel.chat`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from penstock.dialects.codec import DELTA, ERROR, MALFORMED, OTHER, USAGE, ReplyFacts
from penstock.dialects.nonsense import UNREADABLE, no_reply
from penstock.dialects.openai_facts import event_data
from penstock.dialects.tally import Tally, told
from penstock.kernel.money import Usage

FINISHES: Final = {
    # Gemini's reason → ours (google-genai types.FinishReason); what is not here ended the answer: "stop"
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "OTHER": "error",
    "IMAGE_OTHER": "error",
    "NO_IMAGE": "error",
    "MALFORMED_FUNCTION_CALL": "error",
    "MALFORMED_RESPONSE": "error",
    "UNEXPECTED_TOOL_CALL": "error",
    "TOO_MANY_TOOL_CALLS": "error",
    "MISSING_THOUGHT_SIGNATURE": "error",
}
REASONS: Final = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "error": "OTHER",
}


def canonical_finish(reason: str, *, calls: bool) -> str:
    """Return our word for Gemini's `reason`; an answer that stopped to make calls is "tool_calls"."""
    finish = FINISHES.get(reason, "stop") if reason else ""
    return "tool_calls" if calls and finish == "stop" else finish


class WireUsage(msgspec.Struct, gc=False, rename="camel"):
    """The ``usageMetadata``. Thoughts stand beside the candidates, what tools fed back beside the prompt."""

    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    cache_write_token_count: int | None = None  # ours: Gemini bills no cache writes by the call
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None

    def usage(self) -> Usage | None:
        """Return it in canonical form, figures as the vendor gave them; None when it counts nothing yet."""
        if self.prompt_token_count is None and self.candidates_token_count is None:
            return None
        thoughts = self.thoughts_token_count or 0
        return Usage(
            input_tokens=(self.prompt_token_count or 0) + (self.tool_use_prompt_token_count or 0),
            cached_input_tokens=self.cached_content_token_count or 0,
            cache_write_tokens=self.cache_write_token_count or 0,
            output_tokens=(self.candidates_token_count or 0) + thoughts,
            reasoning_tokens=thoughts,
        )


def render_usage(usage: Usage, tool_tokens: int = 0) -> dict[str, Any]:
    """Return the ``usageMetadata``; `tool_tokens` of the input are what tools fed back."""
    beside = {
        "cachedContentTokenCount": usage.cached_input_tokens,
        "cacheWriteTokenCount": usage.cache_write_tokens,
        "thoughtsTokenCount": usage.reasoning_tokens,
        "toolUsePromptTokenCount": tool_tokens,
    }
    return {
        "promptTokenCount": usage.input_tokens - tool_tokens,
        "candidatesTokenCount": usage.output_tokens - usage.reasoning_tokens,
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
        **{name: count for name, count in beside.items() if count},
    }


_NOTHING: Final = Raw()


class _Call(msgspec.Struct, gc=False):
    name: str | None = None
    args: Raw = _NOTHING


class _Part(msgspec.Struct, gc=False, rename="camel"):
    text: str | None = None
    function_call: _Call | None = None


class _Content(msgspec.Struct, gc=False):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, gc=False, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    index: int | None = None


class _Feedback(msgspec.Struct, gc=False, rename="camel"):
    block_reason: str | None = None


class _Response(msgspec.Struct, gc=False, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: WireUsage | None = None
    response_id: str | None = None
    model_version: str | None = None
    error: Raw = _NOTHING

    def blocked(self) -> bool:
        """Tell whether the prompt was refused by a filter."""
        return self.prompt_feedback is not None and bool(self.prompt_feedback.block_reason)


# Not strict: a count written as 12.0 or "12" is still a count.
_RESPONSE: Final = msgspec.json.Decoder(_Response, strict=False)


def event_json(block: bytes) -> bytes:
    """Return the data of one SSE event; an error that Google sends bare, between events, counts as one."""
    data = event_data(block)
    if data:
        return data
    bare = block.strip()
    if bare[:1] == b"[":
        bare = bare[1:].removesuffix(b"]").strip()
    return bare if bare[:1] == b"{" else b""


def read_reply_facts(body: bytes) -> ReplyFacts:
    """Read a whole reply. Raises `Upstream` (``malformed_reply``) when it is not one."""
    try:
        reply = _RESPONSE.decode(body)
    except UNREADABLE as error:
        raise no_reply("a GenerateContentResponse", error) from None
    candidates = reply.candidates or []
    counts = [_calls(candidate) for candidate in candidates]
    finish = "content_filter" if reply.blocked() else ""
    if candidates:
        finish = canonical_finish(candidates[0].finish_reason or "", calls=counts[0] > 0)
    return ReplyFacts(
        usage=None if reply.usage_metadata is None else reply.usage_metadata.usage(),
        finish=finish,
        id=reply.response_id or "",
        model=reply.model_version or "",
        tool_calls=sum(counts),
        choices=len(candidates) or int(reply.blocked()),
        error=told(reply.error),
    )


def _calls(candidate: _Candidate) -> int:
    parts = None if candidate.content is None else candidate.content.parts
    return sum(1 for part in parts or () if part.function_call is not None)


class StreamFacts(Tally):
    """What a stream means to accounting, kept up to date event by event; see `codec.Facts`."""

    __slots__ = ("_begun", "_ended")

    def __init__(self) -> None:
        """Know nothing yet."""
        super().__init__()
        self._begun = 0
        """The candidates seen, a bit each."""
        self._ended = 0

    def feed(self, block: bytes) -> int:
        """Take one SSE event and return its kind. Never raises."""
        try:
            # JSON may be followed by blanks, so the usual one-line event needs no cutting.
            data = block[6:] if block.startswith(b"data: {") else event_json(block)
            if not data:
                return OTHER
            event = _RESPONSE.decode(data)
        except UNREADABLE:
            return self._unusual(block)
        return self._read(event)

    def _unusual(self, block: bytes) -> int:
        """Take an event that is no JSON as it stands: one of several data lines, or nonsense."""
        try:
            return self._read(_RESPONSE.decode(event_json(block)))
        except UNREADABLE:
            self.malformed += 1
            return MALFORMED

    def _read(self, event: _Response) -> int:
        self.id = self.id or event.response_id or ""
        self.model = self.model or event.model_version or ""
        counted = None if event.usage_metadata is None else event.usage_metadata.usage()
        if counted is not None:
            self.recount(counted)
        error = told(event.error)
        if error:
            self.error = error
            return ERROR
        if event.blocked():
            self.finish, self.done = "content_filter", True
            return DELTA
        if not event.candidates:
            return OTHER if counted is None else USAGE
        for candidate in event.candidates:
            self._take(candidate)
        self.done = self._begun == self._ended
        return DELTA

    def _take(self, candidate: _Candidate) -> None:
        bit = 1 << ((candidate.index or 0) & 127)
        self._begun |= bit
        parts = None if candidate.content is None else candidate.content.parts
        size = 0
        for part in parts or ():
            words = part.text
            if words:
                size += len(words) if words.isascii() else len(words.encode())
            call = part.function_call
            if call is not None:
                size += len((call.name or "").encode()) + len(bytes(call.args))
                self.tool_calls += 1
        if size:
            self.deltas += 1
            self.text_bytes += size
        if candidate.finish_reason:
            self._ended |= bit
            self.finish = canonical_finish(candidate.finish_reason, calls=self.tool_calls > 0)
