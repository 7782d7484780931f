"""Whole replies of the OpenAI wire, both ways.

Promises: `parse_reply(render_reply(x)) == x` for every reply this wire can say; unknown members of the reply are kept
in its `extras`, those of a choice (logprobs, …) in its message's under ``choice.<name>``; `reasoning` (OpenRouter,
newer vLLM) is read as `reasoning_content`. A vendor's reply that is not one is an `Upstream` error,
``malformed_reply``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from penstock.dialects.members import Members
from penstock.dialects.nonsense import no_reply
from penstock.dialects.openai_facts import WireUsage
from penstock.dialects.openai_messages import REMEDIES, parse_message, render_message
from penstock.dialects.strict_json import decode_object
from penstock.kernel.chat import ChatReply, Message
from penstock.kernel.errors import Invalid
from penstock.kernel.money import Usage

FINISHES: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "error"})
_OTHER_FINISHES: Final = {"function_call": "tool_calls", "max_tokens": "length", "safety": "content_filter"}

_WHOLE: Final = msgspec.json.Decoder(int)
_USAGE: Final = msgspec.json.Decoder(WireUsage, strict=False)


def canonical_finish(reason: str) -> str:
    """Return one of `FINISHES` for whatever a vendor calls it; what is not known ended the answer: "stop"."""
    if reason in FINISHES or not reason:
        return reason
    return _OTHER_FINISHES.get(reason, "stop")


def settle_reasoning(members: Members) -> None:
    """Give `reasoning`, when it is words and the usual name is absent, the usual name."""
    words = members.take_raw("reasoning")
    usual = members.take_raw("reasoning_content")
    if words is not None and usual is None and bytes(words)[:1] == b'"':
        words, usual = None, words
    for name, given in (("reasoning", words), ("reasoning_content", usual)):
        if given is not None:
            members.put_back(name, given)


def parse_usage(members: Members) -> Usage | None:
    """Take the `usage` member."""
    wire = members.take_optional("usage", _USAGE)
    return None if wire is None else wire.usage()


def render_usage(usage: Usage) -> dict[str, Any]:
    """Return the `usage` member; details that are 0 are written too, as OpenAI does."""
    details = {"cached_tokens": usage.cached_input_tokens}
    if usage.cache_write_tokens:
        details["cache_write_tokens"] = usage.cache_write_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def parse_reply(body: bytes) -> ChatReply:
    """Read a whole reply. Raises `Upstream`."""
    return read_reply(body, "a chat completion", _message)


def read_reply(body: bytes, what: str, message_of: Callable[[Members], Message]) -> ChatReply:
    """Read a whole reply, `what` it is, of choices that hold a message each. Raises `Upstream`."""
    try:
        return _reply(Members(decode_object(body), "", REMEDIES), message_of)
    except Invalid as error:
        raise no_reply(what, error) from None


def _reply(members: Members, message_of: Callable[[Members], Message]) -> ChatReply:
    messages: list[Message] = []
    finishes: list[str] = []
    items = members.take_list("choices")
    if items is None:
        raise members.missing("choices")
    for choice in members.opened("choices", items):
        choice.take("index", _WHOLE, 0)
        finishes.append(canonical_finish(choice.take_text("finish_reason")))
        messages.append(message_of(choice))
    members.take_text("object")
    return ChatReply(
        id=members.take_text("id"),
        model=members.take_text("model"),
        created_s=members.take("created", _WHOLE, 0),
        choices=tuple(messages),
        finishes=tuple(finishes),
        usage=parse_usage(members),
        extras=members.rest(),
    )


def _message(choice: Members) -> Message:
    wire = choice.take_object("message")
    if wire is None:
        raise choice.missing("message")
    settle_reasoning(wire)
    message = parse_message(wire)
    extras = {**message.extras, **choice.rest("choice.")}
    return msgspec.structs.replace(message, extras=extras) if extras else message


def render_reply(reply: ChatReply) -> bytes:
    """Return the reply's bytes. Raises `Invalid` for a part of another dialect."""
    return write_reply(reply, "chat.completion", _render_choice)


def write_reply(
    reply: ChatReply, kind: str, choice_of: Callable[[int, Message, str], dict[str, Any]]
) -> bytes:
    """Return the bytes of an object `kind` that has a choice for each message. Raises what `choice_of` does."""
    wire: dict[str, Any] = {
        "id": reply.id,
        "object": kind,
        "created": reply.created_s,
        "model": reply.model,
        "choices": [
            choice_of(index, message, finish)
            for index, (message, finish) in enumerate(zip(reply.choices, reply.finishes, strict=True))
        ],
    }
    if reply.usage is not None:
        wire["usage"] = render_usage(reply.usage)
    return msgspec.json.encode({**wire, **reply.extras})


def _render_choice(index: int, message: Message, finish: str) -> dict[str, Any]:
    own = {name: value for name, value in message.extras.items() if name.startswith("choice.")}
    others = {name: value for name, value in message.extras.items() if name not in own}
    return {
        "index": index,
        "message": render_message(msgspec.structs.replace(message, extras=others)),
        "logprobs": None,
        "finish_reason": finish or None,
        **{name.removeprefix("choice."): value for name, value in own.items()},
    }
