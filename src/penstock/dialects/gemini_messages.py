"""The conversation of a Gemini request, both ways: ``systemInstruction`` and ``contents``, and `kernel.chat.Message`.

How they meet
- One content is one message, but each ``functionResponse`` of a user's content is a message of role "tool"; tool
  messages that follow one another share one content again. Within a model's content calls come last.
- System and developer messages that lead the conversation are the ``systemInstruction``. Gemini has no words for a
  later one: it is refused.
- A call without an id gets one from its place in the conversation; a response without one belongs to the oldest open
  call of its name. `Message.name` holds the name of a response only when no call tells it.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Raw, structs

from penstock.dialects.gemini_foreign import Translation
from penstock.dialects.gemini_parts import Answer, parse_parts, render_answer, render_call, render_parts
from penstock.dialects.gemini_words import made_id, open_object, take_object
from penstock.dialects.members import Members
from penstock.dialects.openai_envelope import MAX_MESSAGES
from penstock.kernel.chat import Message, Part, ToolCall

_ROLES: Final = {"user": "user", "model": "assistant", "function": "user", "": "user"}
SKIP_VALIDATOR: Final = "skip_thought_signature_validator"
"""Google's word for a call that another vendor's model made: Gemini 3 refuses one without any signature."""


class _Calls:
    """Which calls were made so far, and which of them still wait for their answer."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self._waiting: dict[str, list[str]] = {}
        self._count = 0

    def made(self, call: ToolCall) -> ToolCall:
        id = call.id or made_id(self._count, call.name)
        self._count += 1
        self.names[id] = call.name
        self._waiting.setdefault(call.name, []).append(id)
        return call if call.id else structs.replace(call, id=id)

    def answered(self, id: str, name: str) -> str:
        """Return the id of the call that this answers."""
        waiting = self._waiting.get(name, [])
        if not id and waiting:
            return waiting.pop(0)
        if id in waiting:
            waiting.remove(id)
        if not id:
            id = made_id(self._count, name)
            self._count += 1
        return id


# --------------------------------------------------------------------------------------------------- parsing


def parse_messages(members: Members) -> tuple[Message, ...]:
    """Take ``systemInstruction`` and ``contents``. Raises `Invalid` with the path."""
    messages: list[Message] = []
    system = take_object(members, "systemInstruction")
    if system is not None:
        system.take_text("role")  # Google ignores it
        messages.append(_system(system))
    calls = _Calls()
    for index, item in enumerate(members.need_items("contents", MAX_MESSAGES)):
        messages += _content(item, f"contents[{index}]", calls)
    return tuple(messages)


def _system(content: Members) -> Message:
    pieces = parse_parts(content)
    parts = [piece for piece in pieces if not isinstance(piece, ToolCall | Answer)]
    if len(parts) < len(pieces) or not parts:
        raise content.wrong("parts", "An instruction is made of text.", "no text, or calls")
    return Message(role="system", content=tuple(parts), extras=content.rest())


def _content(item: Raw, path: str, calls: _Calls) -> list[Message]:
    content = open_object(item, path)
    given = content.take_text("role")
    role = _ROLES.get(given)
    if role is None:
        raise content.wrong("role", "This role is not known.", given, "user, model")
    pieces = parse_parts(content)
    if role == "assistant":
        return [_model(pieces, content, calls)]
    if not pieces:
        raise content.missing("parts")
    messages: list[Message] = []
    parts: list[Part] = []
    for piece in pieces:
        if isinstance(piece, ToolCall):
            raise content.wrong("parts", "A user makes no function calls.", piece.name)
        if isinstance(piece, Answer):
            messages += _user(parts)
            parts = []
            messages.append(_tool(piece, calls))
        else:
            parts.append(piece)
    messages += _user(parts)
    extras = content.rest()
    return (
        [structs.replace(messages[0], extras={**messages[0].extras, **extras}), *messages[1:]]
        if extras
        else messages
    )


def _user(parts: list[Part]) -> list[Message]:
    return [Message(role="user", content=tuple(parts))] if parts else []


def _model(pieces: list[Any], content: Members, calls: _Calls) -> Message:
    if any(isinstance(piece, Answer) for piece in pieces):
        raise content.wrong("parts", "A model answers no function calls.", "functionResponse")
    return Message(
        role="assistant",
        content=tuple([piece for piece in pieces if not isinstance(piece, ToolCall)]),
        tool_calls=tuple([calls.made(piece) for piece in pieces if isinstance(piece, ToolCall)]),
        extras=content.rest(),
    )


def _tool(answer: Answer, calls: _Calls) -> Message:
    id = calls.answered(answer.id, answer.name)
    return Message(
        role="tool",
        content=answer.content,
        tool_call_id=id,
        name="" if calls.names.get(id) == answer.name else answer.name,
        extras=answer.extras,
    )


# ------------------------------------------------------------------------------------------------- rendering


def render_messages(
    messages: tuple[Message, ...], said: Translation, *, signs_calls: bool = False
) -> dict[str, Any]:
    """Return ``contents`` and, when there is one, ``systemInstruction``. Raises `Invalid` (untranslatable).

    `signs_calls`: the model refuses calls without a thought signature, so another vendor's calls get a stand-in.
    """
    contents: list[dict[str, Any]] = []
    instruction: dict[str, Any] = {}
    names: dict[str, str] = {}
    answering = False
    for index, message in enumerate(messages):
        at = f"messages[{index}]"
        if message.role in ("system", "developer"):
            if contents:
                raise said.refusal(f"{at}.role", message.role, "Put it first, or send it as a user message.")
            _name_is_said(message, at, said)
            instruction.setdefault("parts", []).extend(render_parts(message.content, at, said))
            instruction |= said.own_message(message.extras, at)
        elif message.role == "tool":
            if not answering:
                contents.append({"role": "user", "parts": []})
            contents[-1]["parts"].append(_render_tool(message, names, at, said))
        else:
            names.update({call.id: call.name for call in message.tool_calls})
            contents.append(render_content(message, at, said, signs_calls=signs_calls))
        answering = message.role == "tool"
    wire: dict[str, Any] = {"contents": contents}
    if instruction:
        wire["systemInstruction"] = instruction
    return wire


def render_content(
    message: Message, at: str, said: Translation, *, signs_calls: bool = False
) -> dict[str, Any]:
    """Return a user's or a model's message as a content."""
    _name_is_said(message, at, said)
    parts = render_parts(message.content, at, said)
    if message.refusal:
        parts.append({"text": message.refusal})
    calls = [
        render_call(call, f"{at}.tool_calls[{place}]", said) for place, call in enumerate(message.tool_calls)
    ]
    if signs_calls and calls and not any("thoughtSignature" in call for call in calls):
        calls[0]["thoughtSignature"] = SKIP_VALIDATOR
    wire: dict[str, Any] = {"role": "model" if message.role == "assistant" else "user"}
    if parts or calls:
        wire["parts"] = [*parts, *calls]
    return {**wire, **said.own_message(message.extras, at)}


def _name_is_said(message: Message, at: str, said: Translation) -> None:
    if message.name:
        raise said.refusal(f"{at}.name", message.name, "Say in the text who speaks.")


def _render_tool(message: Message, names: dict[str, str], at: str, said: Translation) -> dict[str, Any]:
    name = message.name or names.get(message.tool_call_id, "")
    if not name:
        raise said.refusal(
            f"{at}.tool_call_id",
            message.tool_call_id,
            "Send the assistant's message with this call before its answer.",
        )
    return render_answer(message, name, at, said)
