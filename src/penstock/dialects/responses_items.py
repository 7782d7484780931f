"""Items of the Responses wire, both ways: the input of a request, the output of a reply, and `kernel.chat.Message`.

How they meet
- One assistant `Message` is a run of items: reasoning, then one message, then calls; what comes after begins the next.
- A reasoning item is a `Reasoning`: its summary is the text, ``encrypted_content`` the signature, or, where the summary
  is empty, the whole hidden thought.
- A call of a custom tool keeps its `type`. An item of another type is a message whose extras hold it as `item`.
- What only this API says of its items (ids, states, further summaries) is one extra of the message, `items`: nothing
  of it changes what was said. A `phase`, which models read, is an extra of its own.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from penstock.dialects.codec import untranslatable
from penstock.dialects.members import Members, raw
from penstock.dialects.responses_parts import REMEDIES, parse_content, render_part, render_parts, render_text
from penstock.kernel.chat import Extras, Message, Part, Reasoning, Text, ToolCall
from penstock.kernel.errors import Invalid

KEEPS_NOTHING: Final = (
    "This server keeps no responses: send the whole conversation in `input`, with `store` false."
)
_ROLES: Final = ("user", "assistant", "system", "developer")
_CUSTOM: Final = raw("custom")
_COMPLETED: Final = Raw(b'"completed"')


class _Notes(msgspec.Struct, omit_defaults=True):
    """The extra `items` of a message."""

    message: Extras = {}
    reasoning: dict[int, Extras] = {}
    """By position among the thoughts of the message."""
    calls: dict[int, Extras] = {}
    annotations: dict[int, Raw] = {}
    """Of the texts behind the first, whose own are the extra `annotations`."""


_NOTES: Final = msgspec.json.Decoder(_Notes)
_NO_NOTES: Final = raw(_Notes())
_NOTED: Final = ("id", "status")


class _Piece(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    type: str


_PIECES: Final = msgspec.json.Decoder(list[_Piece])


# --------------------------------------------------------------------------------------------------- parsing


class Turns:
    """Puts items together to messages. `one_turn`: they are all one answer, whatever their order."""

    def __init__(self, *, one_turn: bool = False) -> None:
        """Start an empty conversation."""
        self.messages: list[Message] = []
        self._one_turn = one_turn
        self._custom: set[str] = set()
        self._begin()

    def _begin(self) -> None:
        self._parts: list[Part] = []
        self._calls: list[ToolCall] = []
        self._refusal = ""
        self._extras: Extras = {}
        self._notes = _Notes()
        self._thoughts = 0
        self._spoke = False

    def close(self) -> None:
        """End the assistant's turn, if one is open."""
        if self._spoke or self._parts or self._calls:
            message = Message(
                role="assistant",
                content=tuple(self._parts),
                tool_calls=tuple(self._calls),
                refusal=self._refusal,
                extras=_noted(self._extras, self._notes),
            )
            self.messages.append(message)
        self._begin()

    def add(self, item: Raw, path: str) -> None:
        """Take the next item. Raises `Invalid` with its path."""
        members = Members.of(item, path, REMEDIES)
        kind = members.take_text("type") or ("message" if members.has("role") else "item_reference")
        match kind:
            case "message":
                self._message(members)
            case "reasoning":
                self._reasoning(members)
            case "function_call" | "custom_tool_call":
                self._call(members, kind)
            case "function_call_output" | "custom_tool_call_output":
                self.close()
                self.messages.append(self._output(members, kind))
            case "item_reference":
                raise Invalid(
                    "An item cannot be referred to by its id.",
                    code="unsupported_item",
                    field=path,
                    value=members.take_text("id"),
                    remedy=KEEPS_NOTHING,
                )
            case _:
                self.close()
                self.messages.append(Message(role="assistant", extras={"item": Raw(bytes(item))}))

    def _make_room(self) -> None:
        """Begin a new message where this one has come past what is next."""
        if (self._spoke or self._calls) and not self._one_turn:
            self.close()

    def _message(self, members: Members) -> None:
        role = members.need_text("role")
        if role not in _ROLES:
            raise members.wrong("role", "This role is not known.", role, ", ".join(_ROLES))
        content = parse_content(members)
        own, extras = _sorted(members.rest())
        if role != "assistant":
            self.close()
            if not content.parts:
                raise members.missing("content")
            extras = _noted(extras, _Notes(message=own))
            self.messages.append(Message(role=role, content=tuple(content.parts), extras=extras))
            return
        self._make_room()
        self._spoke = True
        before = sum(not isinstance(part, Reasoning) for part in self._parts)
        self._parts += content.parts
        self._refusal += content.refusal
        self._notes.message = {**own, **self._notes.message}
        for index, given in content.annotations.items():
            if before + index:
                self._notes.annotations = {**self._notes.annotations, before + index: given}
            else:
                extras["annotations"] = given
        if content.logprobs is not None:
            extras["choice.logprobs"] = content.logprobs
        self._extras |= extras

    def _reasoning(self, members: Members) -> None:
        self._make_room()
        summary = members.take_raw("summary")
        pieces = _texts(summary, members.at("summary"))
        sealed = members.take_text("encrypted_content")
        words = "\n\n".join(pieces)
        self._parts.append(
            Reasoning(words, sealed) if pieces or not sealed else Reasoning("", redacted=sealed)
        )
        own = _given(members.rest())
        if summary is not None and len(pieces) > 1:
            own["summary"] = summary
        if own:
            self._notes.reasoning = {**self._notes.reasoning, self._thoughts: own}
        self._thoughts += 1

    def _call(self, members: Members, kind: str) -> None:
        call_id, name = members.need_text("call_id"), members.need_text("name")
        arguments = members.take_text("input" if kind == "custom_tool_call" else "arguments")
        own, extras = _sorted(members.rest())
        if own:
            self._notes.calls = {**self._notes.calls, len(self._calls): own}
        if kind == "custom_tool_call":
            self._custom.add(call_id)
            extras["type"] = _CUSTOM
        self._calls.append(ToolCall(call_id, name, arguments, extras))

    def _output(self, members: Members, kind: str) -> Message:
        call_id = members.need_text("call_id")
        parts = parse_content(members, "output").parts or [Text("")]
        own, extras = _sorted(members.rest())
        if (kind == "custom_tool_call_output") != (call_id in self._custom):
            extras["type"] = raw(kind)
        extras = _noted(extras, _Notes(message=own))
        return Message(role="tool", tool_call_id=call_id, content=tuple(parts), extras=extras)


def _given(extras: Extras) -> Extras:
    """Drop what says nothing: nulls, and the state of what is complete."""
    return {
        name: value
        for name, value in extras.items()
        if bytes(value) != b"null" and (name != "status" or value != _COMPLETED)
    }


def _sorted(extras: Extras) -> tuple[Extras, Extras]:
    """Return what is noted only, and what may matter to others."""
    given = _given(extras)
    own = {name: given.pop(name) for name in _NOTED if name in given}
    return own, given


def _noted(extras: Extras, notes: _Notes) -> Extras:
    items = raw(notes)
    return extras if items == _NO_NOTES else {**extras, "items": items}


def _texts(summary: Raw | None, path: str) -> list[str]:
    if summary is None:
        return []
    try:
        return [piece.text for piece in _PIECES.decode(summary)]
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Invalid(
            "The summary is not a list of texts.",
            code="invalid_field",
            field=path,
            remedy="Send the reasoning item back as it came.",
        ) from None


# ------------------------------------------------------------------------------------------------- rendering


def render_conversation(messages: tuple[Message, ...]) -> list[Any]:
    """Return the items of `input`. Raises `Invalid` for a part of another dialect."""
    custom = {call.id for message in messages for call in message.tool_calls if "type" in call.extras}
    items: list[Any] = []
    for message in messages:
        if "item" in message.extras:
            items.append(message.extras["item"])
        elif message.role == "assistant":
            items += render_turn(message)
        else:
            items.append(_render_other(message, is_custom=message.tool_call_id in custom))
    return items


def _render_other(message: Message, *, is_custom: bool) -> dict[str, Any]:
    """Return the item of a message that no assistant wrote."""
    content = render_parts(message.content)
    if message.role == "tool":
        kind = "custom_tool_call_output" if is_custom else "function_call_output"
        wire: dict[str, Any] = {"type": kind, "call_id": message.tool_call_id, "output": content}
    else:
        wire = {"type": "message", "role": message.role, "content": content}
    extras = dict(message.extras)
    return {**wire, **_notes_of(extras).message, **extras}


def _notes_of(extras: Extras) -> _Notes:
    """Take the notes out of `extras`."""
    items = extras.pop("items", None)
    return _Notes() if items is None else _NOTES.decode(items)


def render_turn(message: Message, ids: str = "") -> list[Any]:
    """Return what an assistant said, as items. With `ids` they are an answer's: each gets an id from it and a state."""
    extras = dict(message.extras)
    notes = _notes_of(extras)
    own = {name: value for name, value in extras.items() if name not in _SAID_OF_WORDS} | notes.message
    runs = _runs(message.content)
    if (own or message.refusal or not (runs or message.tool_calls)) and not any(
        isinstance(run, list) for run in runs
    ):
        runs.append([])
    items: list[Any] = []
    texts = thoughts = 0
    for run in runs:
        if isinstance(run, Reasoning):
            noted = notes.reasoning.get(thoughts, {})
            items.append({**_render_thought(run), **_state("rs", ids, len(items)), **noted})
            thoughts += 1
        else:
            written = _render_words(run, texts, extras, notes)
            items.append({**written, **_state("msg", ids, len(items))})
            texts += len(run)
    last = next((item for item in reversed(items) if item["type"] == "message"), None)
    if last is not None:
        if message.refusal:
            last["content"].append({"type": "refusal", "refusal": message.refusal})
        last |= own
    for index, call in enumerate(message.tool_calls):
        noted = notes.calls.get(index, {})
        kind = "ctc" if call.extras.get("type") == _CUSTOM else "fc"
        items.append({**_render_call(call), **_state(kind, ids, len(items)), **noted})
    return items


_SAID_OF_WORDS: Final = ("annotations", "choice.logprobs")


def _runs(content: tuple[Part, ...]) -> list[Reasoning | list[Part]]:
    """Return the content cut into thoughts and what was said between them."""
    runs: list[Reasoning | list[Part]] = []
    for part in content:
        if isinstance(part, Reasoning):
            runs.append(part)
        elif runs and isinstance(runs[-1], list):
            runs[-1].append(part)
        else:
            runs.append([part])
    return runs


def _state(kind: str, ids: str, index: int) -> dict[str, Any]:
    return {"id": f"{kind}_{ids}_{index}", "status": "completed"} if ids else {}


def _render_thought(thought: Reasoning) -> dict[str, Any]:
    sealed = thought.redacted or thought.signature
    wire: dict[str, Any] = {
        "type": "reasoning",
        "summary": [] if thought.redacted else [{"type": "summary_text", "text": thought.text}],
    }
    return {**wire, "encrypted_content": sealed} if sealed else wire


def _render_words(words: list[Part], first: int, extras: Extras, notes: _Notes) -> dict[str, Any]:
    """Return the item of what an assistant said; `first` is the position of its first part in the message."""
    content: list[Any] = []
    for index, part in enumerate(words, first):
        if isinstance(part, Text):
            annotations = notes.annotations.get(index) if index else extras.get("annotations")
            content.append(render_text(part, annotations, None if index else extras.get("choice.logprobs")))
        else:
            content.append(render_part(part))
    return {"type": "message", "role": "assistant", "content": content}


def _render_call(call: ToolCall) -> dict[str, Any]:
    extras = dict(call.extras)
    kind = extras.pop("type", None)
    if kind is None:
        wire = {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}
    elif kind == _CUSTOM:
        wire = {"type": "custom_tool_call", "call_id": call.id, "name": call.name, "input": call.arguments}
    else:
        raise untranslatable("messages", bytes(kind).decode(), "responses")
    return {**wire, **extras}
