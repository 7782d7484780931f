"""Whole replies of the Anthropic wire, both ways; and what else it answers: a count of tokens, the list of models.

How they meet: the stop reason is the finish, by the table of `anthropic_facts`; one that the canonical word does not
bring back (``pause_turn`` …) stands in the reply's extras as it was, and so do ``stop_sequence`` when one hit, every
unknown member, and as ``usage.<name>`` the figures that `Usage` has no place for.

Promises: `parse_reply(render_reply(x)) == x` for every reply this wire can say. A vendor's reply that is not one is an
`Upstream` error with code ``malformed_reply``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Raw

from penstock.dialects.anthropic_blocks import NAME, REMEDIES, Blocks, render_calls, render_parts
from penstock.dialects.anthropic_facts import WireUsage, canonical_finish
from penstock.dialects.codec import untranslatable
from penstock.dialects.members import OBJECT, Members, raw
from penstock.dialects.nonsense import no_reply
from penstock.dialects.strict_json import decode_object
from penstock.kernel.chat import ChatReply, Extras, Message, Text, ToolCall
from penstock.kernel.errors import Invalid
from penstock.kernel.money import Usage

_STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_USAGE: Final = msgspec.json.Decoder(WireUsage, strict=False)
_COUNTED: Final = frozenset(WireUsage.__struct_fields__)
_UNKNOWN_DATE: Final = "1970-01-01T00:00:00Z"


# --------------------------------------------------------------------------------------------------- parsing


def parse_reply(body: bytes) -> ChatReply:
    """Read a whole reply. Raises `Upstream`."""
    try:
        return _reply(Members(decode_object(body), "", REMEDIES))
    except Invalid as error:
        raise no_reply("a message", error) from None


def _reply(members: Members) -> ChatReply:
    blocks = Blocks.of(members, "assistant")
    members.take_text("type")
    members.take_text("role")
    finish, usage = take_finish(members), take_usage(members)
    return ChatReply(
        id=members.take_text("id"),
        model=members.take_text("model"),
        created_s=0,
        choices=(
            Message(
                role="assistant", content=tuple(blocks.parts), tool_calls=blocks.calls, extras=blocks.extras
            ),
        ),
        finishes=(finish,),
        usage=usage,
        extras=given(members.rest()),
    )


def take_finish(members: Members) -> str:
    """Take the stop reason; put it back when the canonical word alone does not bring it back."""
    reason = members.take_text("stop_reason")
    hit = members.take_raw("stop_sequence")
    if hit is not None:
        members.put_back("stop_sequence", hit)
    finish = canonical_finish(reason)
    if reason and reason != _stop_reason(finish, hit=hit is not None):
        members.put_back("stop_reason", raw(reason))
    return finish


def take_usage(members: Members) -> Usage | None:
    """Take the figures that `Usage` holds and leave the others."""
    text = members.take_raw("usage")
    if text is None:
        return None
    whole = Members({"usage": text}, members.path, REMEDIES)
    counted = whole.take("usage", _USAGE, WireUsage())
    others = {name: value for name, value in OBJECT.decode(text).items() if name not in _COUNTED}
    for name, value in given(others).items():
        members.put_back(f"usage.{name}", value)
    return counted.usage()


def given(extras: Extras) -> Extras:
    """Drop what is null: the vendor writes every member it knows."""
    return {name: value for name, value in extras.items() if value != Raw(b"null")}


# ------------------------------------------------------------------------------------------------- rendering


def render_reply(reply: ChatReply) -> bytes:
    """Return the reply's bytes. Usage that nobody knows is written as 0: the vendor's types demand figures.

    Raises `Invalid` for several choices and for a part of another dialect.
    """
    if len(reply.choices) > 1:
        raise untranslatable("n", len(reply.choices), NAME)
    message = reply.choices[0] if reply.choices else Message(role="assistant")
    finish = reply.finishes[0] if reply.finishes else ""
    parts = message.content
    if message.refusal:
        parts, finish = (*parts, Text(message.refusal)), "content_filter"
    calls = tuple([_with_id(call, reply.id, index) for index, call in enumerate(message.tool_calls)])
    extras = {**reply.extras, **_of_answer(message.extras)}
    wire = {
        "id": reply.id,
        "type": "message",
        "role": "assistant",
        "model": reply.model,
        "content": render_calls(render_parts(parts, message.extras), calls, lenient=True),
        **render_finish(finish, extras),
        "usage": render_usage(reply.usage or Usage(), extras),
    }
    return msgspec.json.encode({**wire, **extras})


def _of_answer(extras: Extras) -> Extras:
    """Return the extras of a message that belong to its answer; those of OpenAI's choice around it have no place."""
    return {
        name: value
        for name, value in extras.items()
        if name != "citations" and not name.startswith("choice.")
    }


def _with_id(call: ToolCall, reply_id: str, index: int) -> ToolCall:
    """Return `call` with an id: a caller of this dialect must name one when it answers."""
    if call.id:
        return call
    return ToolCall(made_id(reply_id, index), call.name, call.arguments, call.extras)


def made_id(reply_id: str, index: int) -> str:
    """Return an id for the call `index` of an answer whose vendor gave it none: always the same one."""
    return f"toolu_{''.join([char for char in reply_id if char.isascii() and char.isalnum()])}_{index}"


def render_finish(finish: str, extras: Extras) -> dict[str, Any]:
    """Return the members that say how the answer ended; what `extras` say of it is taken from them."""
    hit = extras.pop("stop_sequence", None)
    reason = extras.pop("stop_reason", None) or _stop_reason(finish, hit=hit is not None)
    return {"stop_reason": reason, "stop_sequence": hit}


def _stop_reason(finish: str, *, hit: bool) -> str | None:
    return "stop_sequence" if hit and finish == "stop" else _STOP_REASONS.get(finish)


def render_usage(usage: Usage, extras: Extras) -> dict[str, Any]:
    """Return the ``usage`` member: what was cached stands beside the input here. Its own extras are taken out."""
    written, long = usage.cache_write_tokens, usage.cache_write_1h_tokens
    wire: dict[str, Any] = {
        "input_tokens": max(usage.input_tokens - usage.cached_input_tokens - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
    }
    if written:
        wire["cache_creation"] = {
            "ephemeral_5m_input_tokens": max(written - long, 0),
            "ephemeral_1h_input_tokens": long,
        }
    if usage.reasoning_tokens:
        wire["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    for name in [name for name in extras if name.startswith("usage.")]:
        wire[name.removeprefix("usage.")] = extras.pop(name)
    return wire


def render_count(input_tokens: int) -> bytes:
    """Return the answer to a question for a request's tokens."""
    return b'{"input_tokens":%d}' % input_tokens


def render_models(models: Iterable[tuple[str, str]], *, has_more: bool = False) -> bytes:
    """Return one page of the list of models, from (model name, owner) pairs; nobody knows when they were made."""
    data = [_model(name, owner) for name, owner in models]
    ends = (
        {"first_id": data[0]["id"], "last_id": data[-1]["id"]}
        if data
        else {"first_id": None, "last_id": None}
    )
    return msgspec.json.encode({"data": data, "has_more": has_more, **ends})


def render_model(name: str, owner: str) -> bytes:
    """Return one model."""
    return msgspec.json.encode(_model(name, owner))


def _model(name: str, owner: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": _UNKNOWN_DATE,
        "lifecycle": "active",
        "owned_by": owner,
    }
