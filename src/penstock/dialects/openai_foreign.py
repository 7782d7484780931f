"""Requests of other dialects, rewritten so that the OpenAI chat wire can say them: the decisions, in one table.

Said otherwise
    thinking budgets            `reasoning_effort`, by `dialects.thinking`
    pictures in tool results    in a user message behind the results: a tool message carries words only
    a tool result's ``is_error``    the word "Error: " before its text
    Responses' ``text.verbosity``, custom tools    under the names of this wire
Left out, and told
    caching hints, tags, user ids, answers not kept, ids and states of items, whether thoughts are shown
    phases, and thoughts of earlier turns with their signatures: another vendor's models cannot read them
Refused
    everything else: parts and vendor-run tools of another dialect, files by URL or by another vendor's id, films
"""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from penstock.dialects.border import Rules, blocks_nothing, one_of
from penstock.dialects.foreign import Crossing, Customs
from penstock.dialects.members import OBJECT, raw
from penstock.dialects.openai_messages import render_media
from penstock.dialects.thinking import effort_of
from penstock.kernel.chat import ChatRequest, Message, Part, Text, Thinking, Tool

REQUEST: Final = {
    "anthropic": Rules(
        left_out=frozenset({"metadata", "cache_control"}),
        harmless={"service_tier": one_of('"auto"', '"standard_only"'), "speed": one_of('"standard"')},
    ),
    "gemini": Rules(
        left_out=frozenset({"labels"}),
        harmless={
            "safetySettings": blocks_nothing,
            "store": one_of("false"),
            "generationConfig.thinkingConfig.thinkingBudget": one_of("-1"),  # the model's own choice
        },
    ),
    "responses": Rules(
        same=frozenset(
            {
                "service_tier",
                "prompt_cache_key",
                "prompt_cache_retention",
                "prompt_cache_options",
                "safety_identifier",
                "moderation",
                "stream_options",
            }
        ),
        renamed={"text.verbosity": "verbosity"},
        # `include` and `max_tool_calls` are about tools the vendor runs, of which none gets past this table.
        left_out=frozenset({"metadata", "include", "max_tool_calls", "reasoning.summary"}),
        harmless={"truncation": one_of('"disabled"'), "reasoning.context": one_of('"auto"')},
    ),
    "completions": Rules(rest=True),
}
MESSAGE: Final = {
    "anthropic": Rules(left_out=frozenset({"cache_control", "citations", "turn.cache_control"})),
    "responses": Rules(ours=frozenset({"items"}), left_out=frozenset({"annotations", "phase"})),
}
CALL: Final = {
    "anthropic": Rules(
        ours=frozenset({"position"}),
        left_out=frozenset({"extra_content", "cache_control"}),
        harmless={"caller": one_of('{"type":"direct"}')},
    ),
    "gemini": Rules(left_out=frozenset({"extra_content"})),
    "responses": Rules(
        same=frozenset({"type"}),
        left_out=frozenset({"extra_content"}),
        harmless={"caller": one_of('{"type":"direct"}')},
    ),
}
TOOL: Final = {
    "anthropic": Rules(
        left_out=frozenset({"eager_input_streaming"}),
        harmless={"defer_loading": one_of("false"), "allowed_callers": one_of('["direct"]')},
    ),
    # What a function returns is a hint that Google's Python SDK sends with every function.
    "gemini": Rules(
        left_out=frozenset({"response", "responseJsonSchema"}), harmless={"behavior": one_of('"BLOCKING"')}
    ),
    "responses": Rules(
        harmless={
            "defer_loading": one_of("false"),
            "async": one_of("false"),
            "allowed_callers": one_of('["direct"]'),
        }
    ),
}


def _custom(tool: Tool) -> Tool | None:
    """Return a custom tool of Responses, which writes it flat, and its grammar too."""
    kind = bytes(tool.extras["type"])
    if kind != b'"custom"':
        return None
    body: dict[str, Any] = {name: value for name, value in tool.extras.items() if name != "type"}
    if "format" in body:
        written: dict[str, Any] = dict(OBJECT.decode(body["format"]))
        if bytes(written.get("type", b"")) == b'"grammar"':
            body["format"] = {"type": written.pop("type"), "grammar": written}
    return Tool(name="custom", extras={"type": tool.extras["type"], "custom": raw(body)})


_CUSTOMS: Final = Customs(
    dialect="openai",
    relatives=frozenset({"responses", "completions"}),
    request=REQUEST,
    message=MESSAGE,
    call=CALL,
    tool=TOOL,
    render_media=render_media,
    custom_tool=_custom,
)


def adopt(request: ChatRequest) -> tuple[ChatRequest, tuple[str, ...]]:
    """Return `request` in this dialect's words, and what was left out. Raises `Invalid` (``untranslatable``)."""
    if request.dialect == "openai":
        return request, ()
    crossing = Crossing(request, _CUSTOMS)
    if request.thinking is not None and request.thinking.shown is not None:
        crossing.leave("shown")
    adopted = replace(
        request,
        dialect="openai",
        messages=_messages(crossing, request.messages),
        tools=tuple([crossing.tool(index, tool) for index, tool in enumerate(request.tools)]),
        thinking=None if request.thinking is None else Thinking(effort=effort_of(request.thinking)),
        extras=crossing.request_extras(request.extras),
    )
    return adopted, crossing.left_out


def _messages(crossing: Crossing, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the conversation; what tool results show stands behind the last result of their turn.

    Here a message with calls is followed by their results, so what else its author said in that turn joins it.
    """
    spoken: list[Message] = []
    shown: list[Part] = []
    for message in messages:
        if shown and message.role != "tool":
            spoken.append(Message(role="user", content=tuple(shown)))
            shown = []
        adopted = crossing.message(message)
        if message.role == "tool":
            adopted, pictures = _words_only(adopted)
            shown += pictures
        if message.role == "assistant" and spoken and spoken[-1].tool_calls:
            adopted = _joined(spoken.pop(), adopted)
        spoken.append(adopted)
    if shown:
        spoken.append(Message(role="user", content=tuple(shown)))
    return tuple(spoken)


def _joined(first: Message, more: Message) -> Message:
    return replace(
        first,
        content=first.content + more.content,
        tool_calls=first.tool_calls + more.tool_calls,
        refusal=first.refusal + more.refusal,
        extras={**first.extras, **more.extras},
    )


def _words_only(result: Message) -> tuple[Message, list[Part]]:
    """Split a tool's result into what a tool message can carry and what a user message must."""
    pictures = [part for part in result.content if not isinstance(part, Text)]
    if not pictures:
        return result if result.content else replace(result, content=(Text(""),)), []
    words = [part for part in result.content if isinstance(part, Text)]
    told = Text(f"What the tool call {result.tool_call_id} showed:")
    said = words or [Text("See the next message of the user for what this call showed.")]
    return replace(result, content=tuple(said)), [told, *pictures]
