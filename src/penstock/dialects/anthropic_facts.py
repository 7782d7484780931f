"""What accounting must know of an answer on the Anthropic wire, read without taking the answer apart.

Promises
- `read_reply_facts` decodes a few typed members and skips the rest; `MessageFacts.feed` does so for one SSE event.
- Usage is in the platform's way: what was read from and written to the prompt cache counts inside the input, although
  the vendor reports it beside.
- The figures of ``message_start`` count until those of ``message_delta`` come, member by member: the prompt's are good,
  the output's is a beginning. An answer that ends without the latter has no usage.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw

from penstock.dialects.codec import DELTA, DONE, ERROR, MALFORMED, OTHER, ReplyFacts
from penstock.dialects.nonsense import UNREADABLE, no_reply
from penstock.dialects.openai_facts import event_data
from penstock.dialects.tally import Tally, told
from penstock.kernel.money import Usage

FINISHES: Final = {
    # what the vendor calls the end of an answer → `kernel.chat.ChatEvent.finish`
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def canonical_finish(stop_reason: str) -> str:
    """Return the canonical word; what is not known ended the answer: "stop"."""
    return FINISHES.get(stop_reason, "stop") if stop_reason else ""


class _CacheCreation(msgspec.Struct, gc=False):
    ephemeral_1h_input_tokens: int | None = None
    ephemeral_5m_input_tokens: int | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: int | None = None


class WireUsage(msgspec.Struct, gc=False):
    """The ``usage`` member, of a whole answer or of an event."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None
    output_tokens_details: _OutputDetails | None = None

    def usage(self) -> Usage:
        """Return it in canonical form, figures as the vendor gave them (see `Usage.mended`)."""
        read, written = self.cache_read_input_tokens or 0, self.cache_creation_input_tokens or 0
        long = 0
        if self.cache_creation is not None:
            long = self.cache_creation.ephemeral_1h_input_tokens or 0
            written = written or long + (self.cache_creation.ephemeral_5m_input_tokens or 0)
        spoken = self.output_tokens_details
        return Usage(
            input_tokens=(self.input_tokens or 0) + read + written,
            cached_input_tokens=read,
            cache_write_tokens=written,
            cache_write_1h_tokens=long,
            output_tokens=self.output_tokens or 0,
            reasoning_tokens=0 if spoken is None else spoken.thinking_tokens or 0,
        )

    def over(self, before: WireUsage) -> WireUsage:
        """Return these figures with those of `before` where this has none."""
        for name in self.__struct_fields__:
            if getattr(self, name) is None:
                setattr(self, name, getattr(before, name))
        return self


_NOTHING: Final = Raw()


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    name: str = ""


class _Reply(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    content: list[_Block] | None = None
    stop_reason: str | None = None
    usage: WireUsage | None = None
    error: Raw = _NOTHING


class _Head(msgspec.Struct, gc=False):
    id: str | None = None
    model: str | None = None
    usage: WireUsage | None = None


class _Delta(msgspec.Struct, gc=False):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str
    message: _Head | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: WireUsage | None = None
    error: Raw = _NOTHING


# Not strict: a vendor that writes 12.0 or "12" for a count still gets paid exactly.
_REPLY: Final = msgspec.json.Decoder(_Reply, strict=False)
_EVENT: Final = msgspec.json.Decoder(_Event, strict=False)


def read_reply_facts(body: bytes) -> ReplyFacts:
    """Read a whole reply. Raises `Upstream` (``malformed_reply``) when it is not one."""
    try:
        reply = _REPLY.decode(body)
    except UNREADABLE as error:
        raise no_reply("a message", error) from None
    blocks = reply.content or []
    return ReplyFacts(
        usage=None if reply.usage is None else reply.usage.usage(),
        finish=canonical_finish(reply.stop_reason or ""),
        id=reply.id or "",
        model=reply.model or "",
        tool_calls=sum([block.type == "tool_use" for block in blocks]),
        choices=0 if reply.content is None else 1,
        error=told(reply.error),
    )


class MessageFacts(Tally):
    """What a stream means to accounting, kept up to date event by event; see `codec.Facts`."""

    __slots__ = ("_counted", "_opening")

    def __init__(self) -> None:
        """Know nothing yet."""
        super().__init__()
        self._opening = WireUsage()
        self._counted = False

    def feed(self, block: bytes) -> int:
        """Take one SSE event and return its kind."""
        data = message_data(block)
        if not data:
            return OTHER
        try:
            event = _EVENT.decode(data)
        except UNREADABLE:
            self.malformed += 1
            return MALFORMED
        delta = event.delta
        if event.type == "content_block_delta" and delta is not None:
            words = delta.text or delta.thinking or delta.partial_json
            if words:
                self.deltas += 1
                self.text_bytes += len(words) if words.isascii() else len(words.encode())
            return DELTA
        return self._framing(event)

    def _framing(self, event: _Event) -> int:
        """Take an event that carries no words."""
        match event.type:
            case "content_block_start":
                if event.content_block is not None and event.content_block.type == "tool_use":
                    self.tool_calls += 1
                    self.deltas += 1
                    self.text_bytes += len(event.content_block.name.encode())
            case "message_start":
                self._start(event.message or _Head())
            case "message_delta":
                self._end(event)
            case "message_stop":
                self.done = True
                self._without_figures()
                return DONE
            case "error":
                self.error = told(event.error) or b"{}"
                return ERROR
            case _:
                return OTHER
        return DELTA

    def _start(self, head: _Head) -> None:
        self.id = head.id or "-"
        self.model = head.model or ""
        if head.usage is not None:
            self._opening = head.usage
            self.usage = head.usage.usage()

    def _end(self, event: _Event) -> None:
        stopped = "" if event.delta is None else event.delta.stop_reason or ""
        if event.usage is not None:
            self.usage_repeated = self.usage_repeated or (self._counted and bool(self.finish))
            self.recount(event.usage.over(self._opening).usage())
            self._counted = True
        self.finish = canonical_finish(stopped) or self.finish
        if self.finish:
            self._without_figures()

    def _without_figures(self) -> None:
        """Forget the figures of the beginning: an answer ended without its own."""
        if not self._counted:
            self.usage = None


def message_data(block: bytes) -> bytes:
    """Return the data of one SSE event; the vendor's own two lines are cut without looking further."""
    if block.startswith(b"event: "):
        at = block.find(b"\n") + 1
        if block.startswith(b"data: ", at) and block.find(b"\n", at) == len(block) - 2:
            return block[at + 6 : -2]
    return event_data(block)
