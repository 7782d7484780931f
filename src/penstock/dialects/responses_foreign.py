"""Requests of other dialects, rewritten so that the Responses wire can say them: the decisions, in one table.

Said otherwise
    thinking budgets                `reasoning.effort`, by `dialects.thinking`
    a tool result's ``is_error``    the word "Error: " before its text
    chat's `verbosity`, custom tools    under the names of this wire
Left out, and told
    caching hints, tags, answers not kept, thoughts of earlier turns, the name of a tool beside its result
Refused
    several choices, stop sequences, seeds, penalties, `top_k`, names of speakers; parts and vendor-run tools of another
    dialect, files by another vendor's id, films
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from penstock.dialects import openai_foreign
from penstock.dialects.border import Rules, one_of
from penstock.dialects.foreign import Crossing, Customs
from penstock.dialects.members import OBJECT, raw
from penstock.dialects.responses_parts import render_media
from penstock.dialects.thinking import effort_of
from penstock.kernel.chat import ChatRequest, Message, Thinking, Tool

_SHARED: Final = frozenset(
    {
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prompt_cache_options",
        "safety_identifier",
        "moderation",
        "metadata",
        "stream_options",
    }
)
_REQUEST: Final = {
    "openai": Rules(
        same=_SHARED,
        renamed={"verbosity": "text.verbosity"},
        left_out=frozenset({"prediction"}),
        harmless={"store": one_of("false"), "modalities": one_of('["text"]')},
    ),
    "completions": Rules(same=_SHARED),
    "anthropic": openai_foreign.REQUEST["anthropic"],
    "gemini": openai_foreign.REQUEST["gemini"],
}
_MESSAGE: Final = {
    "openai": Rules(left_out=frozenset({"annotations", "reasoning_details"})),
    "anthropic": openai_foreign.MESSAGE["anthropic"],
}
_CALL: Final = {
    "openai": Rules(same=frozenset({"type"}), left_out=frozenset({"extra_content"})),
    "anthropic": openai_foreign.CALL["anthropic"],
    "gemini": openai_foreign.CALL["gemini"],
}
_UNSAYABLE: Final = ("top_k", "presence_penalty", "frequency_penalty", "seed")


def _custom(tool: Tool) -> Tool | None:
    """Return a custom tool of chat completions with its body and its grammar flat, as this wire has it."""
    nested = tool.extras.get("custom")
    if nested is None:
        return None
    body = OBJECT.decode(nested)
    if "format" in body:
        written = OBJECT.decode(body["format"])
        if bytes(written.get("type", b"")) == b'"grammar"' and "grammar" in written:
            body["format"] = raw({"type": written["type"], **OBJECT.decode(written["grammar"])})
    return Tool(name="custom", extras={"type": tool.extras["type"], **body})


_CUSTOMS: Final = Customs(
    dialect="responses",
    relatives=frozenset({"openai", "completions"}),
    request=_REQUEST,
    message=_MESSAGE,
    call=_CALL,
    tool=openai_foreign.TOOL,
    render_media=render_media,
    custom_tool=_custom,
)


def adopt(request: ChatRequest) -> tuple[ChatRequest, tuple[str, ...]]:
    """Return `request` in this dialect's words, and what was left out. Raises `Invalid` (``untranslatable``)."""
    if request.dialect == "responses":
        return request, ()
    crossing = Crossing(request, _CUSTOMS)
    _refuse(crossing, request)
    thinking = request.thinking
    adopted = replace(
        request,
        dialect="responses",
        messages=tuple([_message(crossing, message) for message in request.messages]),
        tools=tuple([crossing.tool(index, tool) for index, tool in enumerate(request.tools)]),
        thinking=thinking and Thinking(effort=effort_of(thinking), shown=thinking.shown),
        extras=crossing.request_extras(request.extras),
    )
    return adopted, crossing.left_out


def _refuse(crossing: Crossing, request: ChatRequest) -> None:
    if request.n != 1:
        raise crossing.refusal("n", request.n, "Ask for one choice.")
    if request.stop:
        raise crossing.refusal("stop", request.stop)
    for field in _UNSAYABLE:
        value = getattr(request, field)
        if value is not None:
            raise crossing.refusal(field, value)


def _message(crossing: Crossing, message: Message) -> Message:
    if message.name and message.role == "tool":
        crossing.leave("messages.name")
    elif message.name:
        raise crossing.refusal("messages", message.name, "Leave the speaker's name out.")
    return replace(crossing.message(message), name="")
