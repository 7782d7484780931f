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
from msgspec.structs import replace

from penstock.dialects.members import Members, raw
from penstock.dialects.openai_facts import read_reply_facts
from penstock.dialects.openai_messages import parse_message, render_message
from penstock.dialects.openai_replies import read_reply, write_reply
from penstock.kernel.chat import ChatReply, Extras, Message, Text

read_facts: Final = read_reply_facts
"""What a whole reply means to accounting stands in the same members as a chat completion's."""

_ASSISTANT: Final = Raw(b'"assistant"')
LOGPROBS: Final = "choice.logprobs"
"""The extra of a message or an event that holds them, in the shape of chat completions."""


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


def take_logprobs(choice: Members) -> Extras:
    """Take a choice's log probabilities, into the shape of chat completions. Raises `Invalid`."""
    given = choice.take_optional("logprobs", _LEGACY)
    if given is None:
        return {}
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
    return {LOGPROBS: raw(wire if given.text_offset is None else {**wire, "text_offset": given.text_offset})}


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
    return read_reply(body, "a completion", _message)


def _message(choice: Members) -> Message:
    odds = take_logprobs(choice)
    choice.put_back("content", choice.take_raw("text") or raw(""))
    choice.put_back("role", _ASSISTANT)
    message = parse_message(choice)
    return replace(message, extras={**message.extras, **odds}) if odds else message


# ------------------------------------------------------------------------------------------------- rendering


def render_reply(reply: ChatReply) -> bytes:
    """Return the reply's bytes. Raises `Invalid` for a part of another dialect."""
    return write_reply(reply, "text_completion", _render_choice)


def _render_choice(index: int, message: Message, finish: str) -> dict[str, Any]:
    wire = render_message(message)
    del wire["role"], wire["content"]
    odds = wire.pop(LOGPROBS, None)
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
