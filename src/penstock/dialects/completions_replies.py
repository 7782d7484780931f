"""Whole replies of the legacy completions wire, both ways: the object `text_completion` and `kernel.chat.ChatReply`.

How they meet: a choice's text is one assistant message of one `Text`; its log probabilities take the shape chat
completions give them (``choice.logprobs``), with the vendor's `text_offset` kept among them. What chat can say and this
wire cannot (reasoning, a refusal, calls) stands in the choice under chat's names. Promise:
`parse_reply(render_reply(x)) == x` for every reply this wire can say.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from penstock.dialects.members import Members, raw
from penstock.dialects.openai_facts import read_reply_facts
from penstock.dialects.openai_messages import REMEDIES, parse_message, render_message
from penstock.dialects.openai_replies import canonical_finish, parse_usage, render_usage
from penstock.dialects.strict_json import decode_object
from penstock.kernel.chat import ChatReply, Message, Text
from penstock.kernel.errors import Invalid, Upstream

read_facts: Final = read_reply_facts
"""What a whole reply means to accounting stands in the same members as a chat completion's."""

_WHOLE: Final = msgspec.json.Decoder(int)
_ASSISTANT: Final = Raw(b'"assistant"')
_LOGPROBS: Final = "choice.logprobs"


# ---------------------------------------------------------------------------------------- log probabilities


class _Legacy(msgspec.Struct, gc=False):
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None
    text_offset: list[int] | None = None


class _Odds(msgspec.Struct, gc=False):
    token: str
    logprob: float | None = None
    top_logprobs: list[_Odds] = []


class _Chat(msgspec.Struct, gc=False):
    content: list[_Odds] | None = None
    text_offset: list[int] | None = None


_LEGACY: Final = msgspec.json.Decoder(_Legacy)
_CHAT: Final = msgspec.json.Decoder(_Chat | None)


def chat_logprobs(legacy: Raw) -> Raw:
    """Return log probabilities in the shape of chat completions. Raises `msgspec.ValidationError` for another shape."""
    given = _LEGACY.decode(legacy)
    tokens, odds, tops = given.tokens or [], given.token_logprobs or [], given.top_logprobs or []
    content = [
        {
            "token": token,
            "logprob": odds[at] if at < len(odds) else None,
            "bytes": list(token.encode()),
            "top_logprobs": [
                {"token": other, "logprob": logprob, "bytes": list(other.encode())}
                for other, logprob in ((tops[at] if at < len(tops) else None) or {}).items()
            ],
        }
        for at, token in enumerate(tokens)
    ]
    wire = {"content": content, "refusal": None}
    return raw(wire if given.text_offset is None else {**wire, "text_offset": given.text_offset})


def legacy_logprobs(chat: Raw, offset: int = 0) -> dict[str, Any] | None:
    """Return log probabilities in this wire's shape; `offset` is where the text begins. None when there are none."""
    given = _CHAT.decode(chat)
    if given is None or given.content is None:
        return None
    offsets = given.text_offset
    if offsets is None:
        offsets = list[int]()
        for each in given.content:
            offsets.append(offset)
            offset += len(each.token)
    return {
        "tokens": [each.token for each in given.content],
        "token_logprobs": [each.logprob for each in given.content],
        "top_logprobs": [{top.token: top.logprob for top in each.top_logprobs} for each in given.content],
        "text_offset": offsets,
    }


# --------------------------------------------------------------------------------------------------- parsing


def parse_reply(body: bytes) -> ChatReply:
    """Read a whole reply. Raises `Upstream`."""
    try:
        return _reply(Members(decode_object(body), "", REMEDIES))
    except (Invalid, msgspec.ValidationError) as error:
        raise Upstream(f"The provider's reply is not a completion: {error}", code="malformed_reply") from None


def _reply(members: Members) -> ChatReply:
    messages: list[Message] = []
    finishes: list[str] = []
    items = members.take_list("choices")
    if items is None:
        raise members.missing("choices")
    for index, item in enumerate(items):
        choice = Members.of(item, f"choices[{index}]", REMEDIES)
        choice.take("index", _WHOLE, 0)
        finishes.append(canonical_finish(choice.take_text("finish_reason")))
        odds = choice.take_raw("logprobs")
        choice.put_back("content", choice.take_raw("text") or raw(""))
        choice.put_back("role", _ASSISTANT)
        message = parse_message(choice)
        if odds is not None:
            extras = {**message.extras, _LOGPROBS: chat_logprobs(odds)}
            message = msgspec.structs.replace(message, extras=extras)
        messages.append(message)
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


# ------------------------------------------------------------------------------------------------- rendering


def render_reply(reply: ChatReply) -> bytes:
    """Return the reply's bytes. Raises `Invalid` for a part of another dialect."""
    wire: dict[str, Any] = {
        "id": reply.id,
        "object": "text_completion",
        "created": reply.created_s,
        "model": reply.model,
        "choices": [
            _render_choice(index, message, finish)
            for index, (message, finish) in enumerate(zip(reply.choices, reply.finishes, strict=True))
        ],
    }
    if reply.usage is not None:
        wire["usage"] = render_usage(reply.usage)
    return msgspec.json.encode({**wire, **reply.extras})


def _render_choice(index: int, message: Message, finish: str) -> dict[str, Any]:
    wire = render_message(message)
    del wire["role"], wire["content"]
    odds = wire.pop(_LOGPROBS, None)
    return {
        "text": "".join([part.text for part in message.content if isinstance(part, Text)]),
        "index": index,
        "logprobs": None if odds is None else legacy_logprobs(odds),
        "finish_reason": legacy_finish(finish),
        **{name.removeprefix("choice."): value for name, value in wire.items()},
    }


def legacy_finish(finish: str) -> str | None:
    """Return why an answer ended in this wire's words, which know no calls."""
    return "stop" if finish == "tool_calls" else finish or None
