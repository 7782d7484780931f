"""Whole replies of the Responses wire, both ways: the object `response` and `kernel.chat.ChatReply`.

Promises: `parse_reply(render_reply(x)) == x` for every reply this wire can say; the members an official SDK needs are
always there, with the values of a request that did not mention them, and `store` is false; `echoed` says what a request
did mention. A reply's id begins with ``resp_``, whatever its vendor called it. Unknown members of the reply are kept in
its `extras`. A vendor's reply that is not one is an `Upstream` error, ``malformed_reply``; one that failed
is an `Upstream` error of the vendor's kind.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from penstock.dialects import openai_facts
from penstock.dialects.members import OBJECT, Members, raw
from penstock.dialects.nonsense import no_reply
from penstock.dialects.openai_errors import read_vendor_error
from penstock.dialects.openai_facts import InputDetails, OutputDetails
from penstock.dialects.responses_items import Turns, render_turn
from penstock.dialects.responses_parts import REMEDIES
from penstock.dialects.strict_json import decode_object
from penstock.kernel.chat import ChatReply, Extras, Message
from penstock.kernel.errors import Invalid, Upstream
from penstock.kernel.money import Usage

_FILLED: Final[dict[str, dict[str, object]]] = {
    "reasoning": {"effort": None, "summary": None},
    "text": {"format": {"type": "text"}},
}
"""What stands in these where a request said something else in them."""
_DEFAULTS: Final[dict[str, object]] = {
    # What stands in a reply to a request that did not mention it.
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    **_FILLED,
    "store": False,
    "temperature": None,
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
REPEATED_BYTES: Final = 64 * 1024
"""What is repeated of one request, in all; a member that has no room left stands as if it were not mentioned. A stream
repeats it three times, and what keeps answers (batches, replays, webhooks) has bounds of its own.
"""
_ECHOED: Final = (
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
)
"""What a response repeats of its request."""
_WHOSE: Final[Extras] = {
    "metadata": raw({}),
    **dict.fromkeys(("prompt_cache_key", "prompt_cache_retention", "safety_identifier", "user"), raw(None)),
}
"""What stands in these where a request did not mention them, whatever its vendor says: an answer may be one kept of
another's request, which differed in these alone.
"""
_ID: Final = "resp_"
_FOREIGN_IDS: Final = ("chatcmpl-", "cmpl-", "msg_", "req_")
_UNSAID: Final[Extras] = {name: raw(value) for name, value in _DEFAULTS.items()}
_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_FINISHES: Final = {reason: finish for finish, reason in _INCOMPLETE.items()}
_SECONDS: Final = msgspec.json.Decoder(float)


class WireUsage(msgspec.Struct, gc=False):
    """The `usage` member."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: InputDetails | None = None
    output_tokens_details: OutputDetails | None = None

    def usage(self) -> Usage:
        """Return it in canonical form: the same figures as on the chat wire, under other names."""
        return openai_facts.WireUsage(
            self.input_tokens, self.output_tokens, self.input_tokens_details, self.output_tokens_details
        ).usage()


class Incomplete(msgspec.Struct, gc=False):
    """The `incomplete_details` member."""

    reason: str | None = None


_USAGE: Final = msgspec.json.Decoder(WireUsage, strict=False)
_INCOMPLETE_DETAILS: Final = msgspec.json.Decoder(Incomplete)


def render_usage(usage: Usage) -> dict[str, Any]:
    """Return the `usage` member; every detail is written, as OpenAI does."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def canonical_finish(status: str, reason: str, *, called: bool) -> str:
    """Return why an answer of this status ended, in the words of `ChatEvent.finish`."""
    if status == "incomplete":
        return _FINISHES.get(reason, "length")
    if status in ("failed", "cancelled"):
        return "error"
    return "tool_calls" if called else "stop"


# --------------------------------------------------------------------------------------------------- parsing


def parse_reply(body: bytes) -> ChatReply:
    """Read a whole reply. Raises `Upstream`."""
    try:
        return _reply(Members(decode_object(body), "", REMEDIES))
    except Invalid as error:
        raise no_reply("a response", error) from None


def _reply(members: Members) -> ChatReply:
    error = members.take_raw("error")
    if error is not None:
        raise failed(error)
    items = members.take_list("output")
    if items is None:
        raise members.missing("output")
    turns = Turns(one_turn=True)
    for index, item in enumerate(items):
        turns.add(item, f"output[{index}]")
    turns.close()
    choices = tuple(turns.messages) or (Message(role="assistant"),)
    details = members.take_optional("incomplete_details", _INCOMPLETE_DETAILS) or Incomplete()
    called = any(message.tool_calls for message in choices)
    finish = canonical_finish(members.take_text("status"), details.reason or "", called=called)
    usage = members.take_optional("usage", _USAGE)
    members.take_text("object")
    return ChatReply(
        id=members.take_text("id"),
        model=members.take_text("model"),
        created_s=int(members.take("created_at", _SECONDS, 0.0)),
        choices=choices,
        finishes=tuple([finish for _ in choices]),
        usage=None if usage is None else usage.usage(),
        extras={name: value for name, value in members.rest().items() if value != _UNSAID.get(name)},
    )


def failed(error: Raw) -> Upstream:
    """Build what a response that failed is to us, from its `error` member."""
    said = read_vendor_error(200, b'{"error":%b}' % bytes(error))
    return Upstream(f"The provider gave up: {said.message}", code=said.kind)


# ------------------------------------------------------------------------------------------------- rendering


def render_reply(reply: ChatReply) -> bytes:
    """Return the reply's bytes. Raises `Invalid` for a part of another dialect."""
    ids = ids_of(reply.id)
    output = [item for message in reply.choices for item in render_turn(message, ids)]
    finish = next(iter(reply.finishes), "stop")
    head = response_head(reply.id, reply.model, reply.created_s)
    return msgspec.json.encode({**head, **outcome(finish, output, reply.usage), **reply.extras})


def echoed(body: bytes) -> Extras:
    """Return what an answer repeats of the request `body`, which was read before, as its caller wrote it; at most
    `REPEATED_BYTES`.
    """
    members = decode_object(body)
    said = dict(_WHOSE)
    room = REPEATED_BYTES
    for name in _ECHOED:
        value = members.get(name)
        length = 0 if value is None else len(memoryview(value))
        if value is not None and length <= room and bytes(value) != b"null":
            room -= length
            said[name] = value
    for name, unsaid in _FILLED.items():
        if name in said:
            said[name] = raw({**unsaid, **OBJECT.decode(said[name])})
    return said


def ids_of(reply_id: str) -> str:
    """Return what the ids of a reply and of its items share: its own id without the kind it begins with."""
    for kind in (_ID, *_FOREIGN_IDS):
        if reply_id.startswith(kind):
            return reply_id.removeprefix(kind) or "0"
    return reply_id or "0"


def response_head(reply_id: str, model: str, created_s: int) -> dict[str, Any]:
    """Return what every form of a response begins with."""
    return {
        "id": f"{_ID}{ids_of(reply_id)}",
        "object": "response",
        "created_at": created_s,
        "model": model,
        **_UNSAID,
    }


def outcome(finish: str, output: list[Any], usage: Usage | None) -> dict[str, Any]:
    """Return what is known at the end of an answer."""
    wire: dict[str, Any] = {"status": "completed", "output": output}
    reason = _INCOMPLETE.get(finish)
    if reason is not None:
        wire |= {"status": "incomplete", "incomplete_details": {"reason": reason}}
    elif finish == "error":
        said = {"code": "server_error", "message": "The model's provider gave up."}
        wire |= {"status": "failed", "error": said}
    return {**wire, "usage": None if usage is None else render_usage(usage)}
