"""What of a conversation a summary is to stand for, and the conversation with its summaries in place. Pure.

    system   turn 1  turn 2 … turn n   turn n+1 … newest
             └─ one summary, as a ─┘   └ word for word ┘
                turn of its own

Where even two turns are too long, long texts inside them are summarised one by one, oldest first.

Promises: system and developer messages stay, in order; a turn is covered whole or not at all, so that no tool's result
parts from its call; what is planned fits its room with every summary at its longest; a digest names what is covered,
whatever marks a caller sets on it, and the digest of more turns continues that of fewer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Final

import msgspec

from penstock.gateway.context_fit import KEPT_ROLES, Room, turns_of
from penstock.kernel.chat import ChatRequest, Image, Media, Message, Other, Text

TURNS_LEAST: Final = 2
"""Newest turns that are always kept word for word."""
DOCUMENT_CHARS: Final = 8_000
"""A shorter text inside a kept turn is not summarised."""
BYTES_PER_TOKEN: Final = 4
"""How long a summary may be, in bytes for each of its tokens."""
HEAD: Final = "Summary of the earlier part of this conversation:\n"
DOCUMENT_HEAD: Final = "Summary of a long text that stood here:\n"
NOTED: Final = "Noted. I go on from there."
FILLER: Final = "~"


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """A place where a summary is to stand. `stand_in` is what stands there until then, as long as a summary may be;
    `previous` is a summary of what came before `text`, "" for none.
    """

    digest: str
    head: str
    stand_in: str
    text: str
    previous: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation with `gaps` to fill. `covered` of its `total` messages are summarised, and `documents` texts."""

    request: ChatRequest
    gaps: tuple[Gap, ...]
    covered: int
    total: int
    documents: int


class Talk:
    """One conversation, turn by turn. `digests[n]` names its first n turns."""

    def __init__(self, request: ChatRequest, room: Room) -> None:
        """Weigh `request` for `room`."""
        self._request = request
        self._room = room
        self._turns = turns_of(request.messages)
        self._weights = room.weights(request)
        self._excess = room.excess(request, self._weights)
        self.digests = [""]
        for turn in self._turns[:-TURNS_LEAST]:
            told = self.digests[-1] + self._told(turn)
            self.digests.append(sha256(told.encode()).hexdigest())

    @property
    def coverable(self) -> int:
        """Return how many turns a summary may stand for at most."""
        return len(self.digests) - 1

    def fits(self, covered: int, summary: str) -> bool:
        """Tell whether the conversation fits with `summary` for its first `covered` turns."""
        gone = sum([self._weights[place] for turn in self._turns[:covered] for place in turn])
        come = sum([self._room.weight_of(each) for each in pair(HEAD + summary)])
        return self._excess - gone + come <= 0

    def covering(self, turns: int, summary: str) -> Plan:
        """Return the conversation with `summary` for its first `turns` turns; 0 turns need none."""
        places = sorted(place for turn in self._turns[:turns] for place in turn)
        messages: list[Message] = []
        for place, message in enumerate(self._request.messages):
            if places and place == places[0]:
                messages += pair(HEAD + summary)
            if place not in places:
                messages.append(message)
        request = msgspec.structs.replace(self._request, messages=tuple(messages))
        return Plan(
            request=request, gaps=(), covered=len(places), total=len(self._request.messages), documents=0
        )

    def to_come(self, turns: int, tokens: int, known: int = 0, previous: str = "") -> Plan:
        """Return the conversation with a gap of `tokens` tokens for its first `turns` turns, of which `previous`
        already tells the first `known`.
        """
        told = "".join([self._told(turn) for turn in self._turns[known:turns]])
        gap = _gap(self.digests[turns], HEAD, told, tokens, previous)
        plan = self.covering(turns, gap.stand_in)
        return msgspec.structs.replace(plan, gaps=(gap,))

    def with_documents(self, plan: Plan, tokens: int) -> Plan | None:
        """Return `plan` with gaps for as many long texts, oldest first, as must go to fit; None when that is no use."""
        excess = self._room.excess(plan.request)
        messages: list[Message] = []
        gaps: dict[str, Gap] = {}
        documents = 0
        for message in plan.request.messages:
            shorter = message
            for at, part in _documents(message):
                gap = _gap(sha256(part.text.encode()).hexdigest(), DOCUMENT_HEAD, part.text, tokens)
                told = _with_part(shorter, at, msgspec.structs.replace(part, text=gap.head + gap.stand_in))
                less = self._room.weight_of(shorter) - self._room.weight_of(told)
                if excess > 0 and less > 0:
                    shorter, excess, documents = told, excess - less, documents + 1
                    gaps[gap.digest] = gap  # the same text twice is summarised once
            messages.append(shorter)
        if excess > 0:
            return None
        request = msgspec.structs.replace(plan.request, messages=tuple(messages))
        all_gaps = (*plan.gaps, *gaps.values())
        return msgspec.structs.replace(plan, request=request, gaps=all_gaps, documents=documents)

    def _told(self, turn: Sequence[int]) -> str:
        return transcript([self._request.messages[place] for place in turn])


def pair(words: str) -> tuple[Message, Message]:
    """Return a turn that says `words`: the roles go on taking turns, as some models' templates demand."""
    return (
        Message(role="user", content=(Text(words),)),
        Message(role="assistant", content=(Text(NOTED),)),
    )


def filled(request: ChatRequest, gap: Gap, summary: str) -> ChatRequest:
    """Return `request` with `summary` where `gap` is, whatever else has been done to it meanwhile."""
    messages: list[Message] = []
    for message in request.messages:
        told = message
        for at, part in _holding(message, gap):
            told = _with_part(told, at, msgspec.structs.replace(part, text=gap.head + summary))
        messages.append(told)
    return msgspec.structs.replace(request, messages=tuple(messages))


def without(request: ChatRequest, gap: Gap) -> ChatRequest | None:
    """Return `request` without the turn that a summary was to be; None when the gap is inside a turn that stays."""
    if gap.head != HEAD:
        return None
    for place, message in enumerate(request.messages):
        if any(_holding(message, gap)):
            messages = request.messages[:place] + request.messages[place + 2 :]
            return msgspec.structs.replace(request, messages=messages)
    return None


def clipped(text: str, tokens: int) -> str:
    """Return as much of a summary as its gap has room for."""
    return text.encode()[: tokens * BYTES_PER_TOKEN].decode(errors="ignore").strip()


def longest(tokens: int, name: str = "") -> str:
    """Return a text as long as a summary may be."""
    return name.ljust(tokens * BYTES_PER_TOKEN, FILLER)


def transcript(messages: Sequence[Message]) -> str:
    """Return what was said, as text: what is not text is named, calls of tools and their results are told."""
    lines: list[str] = []
    for message in messages:
        lines.append(f"{message.role}: {''.join(_words(message))}")
        lines += [f"[calls {call.name} with {call.arguments}]" for call in message.tool_calls]
    return "\n".join(lines) + "\n"


def _words(message: Message) -> Iterator[str]:
    for part in message.content:
        match part:
            case Text(text=text):
                yield text
            case Image():
                yield "[a picture]"
            case Media() | Other():
                yield "[a document]"
            case _:
                pass  # what a model thought is no part of what was said
    yield message.refusal


def _gap(digest: str, head: str, text: str, tokens: int, previous: str = "") -> Gap:
    stand_in = longest(tokens, f"[{digest[:16]}]")
    return Gap(digest=digest, head=head, stand_in=stand_in, text=text, previous=previous)


def _documents(message: Message) -> Iterator[tuple[int, Text]]:
    if message.role in KEPT_ROLES or not message.content:
        return
    for at, part in enumerate(message.content):
        if isinstance(part, Text) and len(part.text) >= DOCUMENT_CHARS and not part.text.startswith(HEAD):
            yield at, part


def _holding(message: Message, gap: Gap) -> Iterator[tuple[int, Text]]:
    """Return the part that holds `gap`, and where it is."""
    for at, part in enumerate(message.content):
        if isinstance(part, Text) and part.text == gap.head + gap.stand_in:
            yield at, part


def _with_part(message: Message, at: int, part: Text) -> Message:
    return msgspec.structs.replace(message, content=(*message.content[:at], part, *message.content[at + 1 :]))
