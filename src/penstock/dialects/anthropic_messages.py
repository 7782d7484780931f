"""Turns of the Anthropic wire, both ways: `kernel.chat.Message` and the objects in ``messages``, and ``system``.

How they meet
- ``system`` is a leading system message; leading system and developer messages join in it. A later one stands in
  ``messages`` with role "system", as the wire has it since 2026: older models refuse that in the vendor's own words.
- A user turn of tool results and words is one message of role "tool" per result, then one of role "user". On the way
  back consecutive results, and the user's words after them, are one turn, results first, as the vendor demands.
- Unknown members of a turn are its message's extras; those of a turn of nothing but results stand on the first result
  as ``turn.<name>``.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from penstock.dialects.anthropic_blocks import (
    Blocks,
    render_calls,
    render_parts,
    render_result,
)
from penstock.dialects.members import Members
from penstock.kernel.chat import Message, Text

ROLES: Final = ("user", "assistant", "system")
SYSTEM: Final = ("system", "developer")


# --------------------------------------------------------------------------------------------------- parsing


def parse_system(members: Members) -> list[Message]:
    """Take ``system``: one message, or none. Raises `Invalid`."""
    blocks = Blocks.of(members, "system", "system")
    if not blocks.parts:
        return []
    return [Message(role="system", content=tuple(blocks.parts), extras=blocks.extras)]


def parse_turn(members: Members) -> list[Message]:
    """Read one turn. Raises `Invalid` with its path."""
    role = members.need_text("role")
    if role not in ROLES:
        raise members.wrong("role", "This role is not known.", role, ", ".join(ROLES))
    blocks = Blocks.of(members, role)
    around = members.rest()
    results = blocks.results
    if not results and not blocks.parts and role != "assistant":
        raise members.missing("content")
    if results and not blocks.parts:
        first = results[0]
        named = {f"turn.{name}": value for name, value in around.items()}
        return [replace(first, extras={**first.extras, **named}) if named else first, *results[1:]]
    said = Message(
        role=role,
        content=tuple(blocks.parts),
        tool_calls=blocks.calls,
        extras={**around, **blocks.extras},
    )
    return [*results, said]


# ------------------------------------------------------------------------------------------------- rendering


def render_messages(messages: tuple[Message, ...]) -> tuple[object, list[dict[str, Any]]]:
    """Return ``system`` (None without one) and the turns. Raises `Invalid` for a part that has no block."""
    leading = 0
    while leading < len(messages) and _is_plain_system(messages[leading]):
        leading += 1
    turns: list[dict[str, Any]] = []
    turn: dict[str, Any] = {}
    after_results = False
    for message in messages[leading:]:
        if after_results and message.role in ("tool", "user"):
            turn = turns[-1]
        else:
            turn = {"role": "system" if message.role == "developer" else message.role, "content": []}
            turns.append(turn)
        _fill(turn, message)
        after_results = message.role == "tool"
    return _render_system(messages[:leading]), turns


def _is_plain_system(message: Message) -> bool:
    return message.role in SYSTEM and not message.extras.keys() - {"citations"}


def _render_system(messages: tuple[Message, ...]) -> object:
    blocks = [block for message in messages for block in render_parts(message.content, message.extras)]
    if len(messages) == 1 and len(blocks) == 1 and _is_one_text(messages[0]):
        return blocks[0]["text"]
    return blocks or None


def _fill(turn: dict[str, Any], message: Message) -> None:
    """Add `message` to its turn, which is new or ends with a tool's result."""
    extras = message.extras
    if message.role == "tool":
        turn["role"] = "user"
        turn["content"].append(render_result(message))
        turn |= {name[5:]: value for name, value in extras.items() if name.startswith("turn.")}
        return
    if not turn["content"] and not message.tool_calls and _is_one_text(message):
        turn["content"] = render_parts(message.content, {})[0]["text"]
    else:
        turn["content"] += render_calls(render_parts(message.content, extras), message.tool_calls)
    turn |= {name: value for name, value in extras.items() if name != "citations"}


def _is_one_text(message: Message) -> bool:
    """Tell whether the content can be said as a string."""
    parts = message.content
    return (
        len(parts) == 1
        and type(parts[0]) is Text
        and not parts[0].cache
        and "citations" not in message.extras
    )
