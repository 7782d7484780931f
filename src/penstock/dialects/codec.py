"""What every wire format offers, and the words its users share: one `Codec` a dialect, a value of pure functions.

A face (what callers speak) and a provider (what a vendor speaks) each have one. Where both are the same, bytes pass
through and only `facts` are read; else a request goes ``parse_request → kernel.chat → render_request`` and the answer
``parser → kernel.chat → renderer`` (or ``parse_reply → render_reply`` when it is whole).

Promise: nothing is lost in silence. What a dialect cannot say is refused by its `render_request` with an `Invalid`
(code ``untranslatable``) that names the field as its caller wrote it, or, when it cannot change an answer (a tag, a
caching hint), is named in `Rendered.left_out`, which the gateway tells the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from penstock.kernel.chat import ChatEvent, ChatReply, ChatRequest, Extras
from penstock.kernel.errors import Invalid, PenstockError
from penstock.kernel.money import Usage


class Rendered(msgspec.Struct, frozen=True, gc=False):
    """A request in a vendor's words. `left_out` names what had no place there and cannot change the answer."""

    body: bytes
    left_out: tuple[str, ...] = ()


class StreamHead(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the events of one answer repeat: its id, the model, the time in seconds since 1970, and whether the caller
    asked for usage. `input_tokens` is what is known of the prompt when the stream begins (Anthropic's first event tells
    it; the last event corrects it), `echo` what the answer repeats of its request (`Codec.echo`).
    """

    id: str
    model: str
    created_s: int
    include_usage: bool = True
    input_tokens: int = 0
    echo: Extras = {}


class ReplyFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a whole reply means to accounting. `usage` is None when the vendor sent none."""

    usage: Usage | None
    finish: str
    """Of the first choice, "" when the vendor gave none."""
    id: str
    model: str
    tool_calls: int
    """Over all choices."""
    choices: int
    error: bytes
    """The `error` member as written, b"" when there is none: some vendors send errors with status 200."""


class Facts(Protocol):
    """What a stream means to accounting, kept up to date event by event. `feed` returns one of the kinds below."""

    id: str
    model: str
    deltas: int
    """Events that carried generated text."""
    text_bytes: int
    tool_calls: int
    usage: Usage | None
    usage_repeated: bool
    usage_decreased: bool
    finish: str
    """The last finish reason seen, in the words of `kernel.chat.ChatEvent`."""
    done: bool
    """The success mark was seen."""
    error: bytes
    """The vendor's error as written."""
    malformed: int

    def feed(self, block: bytes) -> int:
        """Take one SSE event and return its kind."""
        ...


OTHER: Final = 0
"""A comment, a keep-alive, or an event that says nothing to accounting."""
DELTA: Final = 1
"""Part of an answer: a role, text, reasoning, a tool call or a finish reason."""
USAGE: Final = 2
"""An event that carries nothing but usage; hidden from a caller who did not ask for it."""
DONE: Final = 3
"""The success mark; the gateway holds it back and sends it itself."""
ERROR: Final = 4
"""The vendor gave up; the error is in `Facts.error`."""
MALFORMED: Final = 5
"""Not JSON, or JSON of another shape."""


class EventParser(Protocol):
    """Reads a stream. Raises `Upstream` for an error event and for nonsense."""

    def feed(self, block: bytes) -> list[ChatEvent]:
        """Take one SSE event and return what it says."""
        ...


class EventRenderer(Protocol):
    """Writes a stream."""

    def event(self, event: ChatEvent) -> bytes:
        """Return the SSE events that say `event`; maybe b""."""
        ...

    def done(self) -> bytes:
        """Return what ends a good answer: the success mark, with whatever must still be closed before it."""
        ...


class VendorError(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A vendor's refusal, understood.

    `kind` is one of `kernel.faults.FAILURE_KINDS`; `retry_after_s` a hint in the body (headers are the adapter's).
    """

    kind: str
    message: str
    code: str = ""
    param: str = ""
    retry_after_s: float | None = None


def comment(text_bytes: int) -> bytes:
    """Return a sign of life: an SSE comment, which no reader takes for an event (HTML Standard, 9.2.6)."""
    return b": %d bytes of text so far\n\n" % text_bytes


class Codec(msgspec.Struct, frozen=True, kw_only=True):
    """One dialect. `end` is its success mark, which the gateway sends once an answer is whole; b"" without one."""

    name: str
    end: bytes
    parse_request: Callable[[bytes], ChatRequest]
    render_request: Callable[[ChatRequest, str], Rendered]
    """The request and the member that carries the output limit."""
    parse_reply: Callable[[bytes], ChatReply]
    render_reply: Callable[[ChatReply], bytes]
    read_facts: Callable[[bytes], ReplyFacts]
    facts: Callable[[], Facts]
    parser: Callable[[], EventParser]
    renderer: Callable[[StreamHead], EventRenderer]
    render_error: Callable[[PenstockError], tuple[int, bytes]]
    render_error_event: Callable[[PenstockError], bytes]
    retry_headers: Callable[[PenstockError], bytes]
    read_error: Callable[[int, bytes], VendorError]
    redirect: Callable[[bytes, str, int], bytes] | None = None
    """The same request, for another model and with another output limit, every other byte kept; None: by rendering."""
    break_off: Callable[[PenstockError, EventRenderer], bytes] | None = None
    """`render_error_event` where events are numbered: it follows what the renderer wrote; None: they are not."""
    echo: Callable[[bytes], Extras] | None = None
    """The members of a request that its answer repeats, from the request's bytes; None where answers repeat nothing."""
    sign: Callable[[int], bytes] = comment
    """What a stream is sent while nothing of the answer leaves; it is told how many bytes of text there are already."""


def untranslatable(field: str, value: object, dialect: str, remedy: str = "") -> Invalid:
    """Build the refusal of what a provider's `dialect` has no words for. `field` is as the caller wrote it."""
    return Invalid(
        f"{field} cannot be said to a provider that speaks {dialect}.",
        code="untranslatable",
        field=field,
        value=value,
        remedy=remedy or "Leave it out, or use a model whose provider speaks the dialect of this request.",
    )
