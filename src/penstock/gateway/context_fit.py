"""Making a conversation fit: which messages go together, what each weighs, which must go. Pure.

A turn is a user's message and all that follows it up to the next one; a step is an assistant's message with the
results of the tools it called.

Promises: every system and developer message, the newest user message and the newest step stay; a tool's result never
stays without its call, nor a call without its results; order is kept; no more is dropped than must be, oldest first;
a second pass changes nothing. Linear in the size of the conversation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from penstock.dialects.envelope import words_of
from penstock.kernel.chat import ChatRequest, Message, Text
from penstock.mechanisms.least_tokens import least_tokens
from penstock.mechanisms.tokens import TOKENS_PER_CONVERSATION, bound_input_tokens

KEPT_ROLES: Final = frozenset(("system", "developer"))


class Room(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a prompt may fill: `tokens` at most, a picture being `image_tokens`, a document `document_tokens`, and a
    token of text `bytes_per_token` bytes.
    """

    tokens: int
    image_tokens: int
    document_tokens: int
    bytes_per_token: float = 1.0

    def weight(self, request: ChatRequest) -> int:
        """Return the tokens of a request, apart from what a template puts around every conversation: as its bytes
        tell, and never fewer than it has words.
        """
        text = bound_input_tokens(request, 0, 0) - TOKENS_PER_CONVERSATION
        tokens = math.ceil(text / self.bytes_per_token)
        if tokens < text:  # else words tell nothing: no text has more of them than bytes
            tokens = max(tokens, least_tokens(words_of(request.messages)))
        if all(isinstance(part, Text) for message in request.messages for part in message.content):
            return tokens
        media = bound_input_tokens(request, self.image_tokens, self.document_tokens)
        return tokens + media - TOKENS_PER_CONVERSATION - text

    def weights(self, request: ChatRequest) -> list[int]:
        """Return the tokens of each message."""
        return [self.weight_of(each) for each in request.messages]

    def weight_of(self, message: Message) -> int:
        """Return the tokens of one message."""
        return self.weight(ChatRequest(model="", messages=(message,)))

    def excess(self, request: ChatRequest, weights: Sequence[int] | None = None) -> int:
        """Return by how many tokens a request is too long; 0 or less when it fits. `weights` are its messages' where
        they are known.
        """
        bare = self.weight(msgspec.structs.replace(request, messages=()))
        told = self.weights(request) if weights is None else weights
        return TOKENS_PER_CONVERSATION + bare + sum(told) - self.tokens


def fitted(request: ChatRequest, room: Room) -> ChatRequest | None:
    """Return `request` without its oldest turns, as few as must go to fit `room`; itself when it fits, None when
    nothing that may be dropped is enough.
    """
    weights = room.weights(request)
    excess = room.excess(request, weights)
    if excess <= 0:
        return request
    messages = request.messages
    gone: set[int] = set()
    for group in _droppable(messages):
        gone.update(group)
        excess -= sum([weights[place] for place in group])
        if excess <= 0:
            kept = tuple(each for place, each in enumerate(messages) if place not in gone)
            return msgspec.structs.replace(request, messages=kept)
    return None


def turns_of(messages: Sequence[Message]) -> list[list[int]]:
    """Return the places of all but system messages, turn by turn."""
    return _grouped(messages, frozenset(("user",)))


def _droppable(messages: Sequence[Message]) -> list[list[int]]:
    """Return the places that may go, group by group, in the order they go: old turns, then steps of the newest."""
    turns = turns_of(messages)
    if not turns:
        return []
    newest = turns.pop()
    steps = _grouped([messages[place] for place in newest], frozenset(("user", "assistant")))
    older = [[newest[place] for place in step] for step in steps[:-1]]
    return turns + [step for step in older if all(messages[place].role != "user" for place in step)]


def _grouped(messages: Sequence[Message], openers: frozenset[str]) -> list[list[int]]:
    """Return the places of all but system messages in groups that begin at roles of `openers`; a tool's result joins
    everything from its call on, wherever that is.
    """
    groups: list[list[int]] = []
    called: dict[str, int] = {}
    for place, message in enumerate(messages):
        if message.role in KEPT_ROLES:
            continue
        if message.role in openers or not groups:
            groups.append([place])
        else:
            home = called.get(message.tool_call_id, place) if message.role == "tool" else place
            while home < groups[-1][0]:
                late = groups.pop()
                groups[-1] += late
            groups[-1].append(place)
        called.update((call.id, place) for call in message.tool_calls)
    return groups
