"""A conversation longer than its model's window: refused as ever, or sent on without its oldest
turns, and flagged so.

    reject            nothing is touched; admission refuses what certainly does not fit
    truncate_oldest   whole turns go, oldest first; then, inside the newest turn, its oldest steps

A turn is a user's message and all that follows it up to the next one; a step is an assistant's message with the
results of the tools it called. ``x-penstock-overflow: reject | truncate_oldest`` chooses, where callers may.

Promises: what is left fits the window of the back end that is tried first, by an upper bound of its tokens (unless the
operator trades that for room: `bytes_per_token`); every system and developer message, the newest user message and the
newest step stay; a tool's result never stays without its call, nor a call without its results; order is kept; no more
is dropped than must be, oldest first; what cannot be made to fit is not touched; a second pass changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from penstock.gateway.ask import asked
from penstock.gateway.privacy import Tenant, of_tenant
from penstock.gateway.routing import Target
from penstock.gateway.story import Story
from penstock.gateway.wording import Wording
from penstock.kernel.chat import ChatRequest, Message
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import Forbidden, Invalid
from penstock.kernel.settings_context import ContextSettings
from penstock.mechanisms.tokens import IMAGE_TOKENS_MAX, TOKENS_PER_CONVERSATION, bound_input_tokens

HEADER: Final = b"x-penstock-overflow"
FLAG: Final = "context_truncated"
CHOICES: Final = ("reject", "truncate_oldest")
ANSWER_TOKENS: Final = 1_024
"""What is left free for an answer whose length the caller did not name."""
KEPT_ROLES: Final = frozenset(("system", "developer"))
_NO_RULES: Final = ContextSettings()


class Room(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a prompt may fill: `tokens` at most, a picture being `image_tokens`, a document `document_tokens`, and a
    token of text at least `bytes_per_token` bytes.
    """

    tokens: int
    image_tokens: int
    document_tokens: int
    bytes_per_token: int = 1


class ContextCare:
    """An `Inspection` that makes conversations fit. One per process; comes before whatever reads the prompt."""

    def __init__(self, rules: Mapping[Tenant, ContextSettings]) -> None:
        """Go by the rules of the most exact tenant named: team, organisation, everybody."""
        self._rules = rules
        self.truncated = 0
        """Requests whose oldest turns were left out."""
        self.dropped = 0
        """Messages left out of them."""
        self.too_long = 0
        """Requests that were to be truncated and could not be made to fit; they went on as they came."""

    async def inspect(
        self, context: RequestContext, wording: Wording, targets: tuple[Target, ...], story: Story
    ) -> None:
        """Leave out what must be. Raises Invalid for a bad header, Forbidden for a choice callers do not have."""
        rules = of_tenant(self._rules, context) or _NO_RULES
        if _chosen(context.header(HEADER), rules) == "reject":
            return
        window = targets[0].price.context_window
        if not window:
            return
        envelope = wording.envelope
        free = window - min(envelope.output_limit or ANSWER_TOKENS, window // 2)
        if asked(envelope, targets[:1]).bound_tokens <= free:
            return  # the usual case: it fits whatever the tokenizer
        room = Room(
            tokens=free,
            image_tokens=targets[0].price.image_tokens_max or IMAGE_TOKENS_MAX,
            document_tokens=window,
            bytes_per_token=rules.bytes_per_token,
        )
        request = wording.request
        fit = fitted(request, room)
        if fit is None:
            self.too_long += 1
        elif fit is not request:
            wording.rewrite(fit)
            self.truncated += 1
            dropped = len(request.messages) - len(fit.messages)
            self.dropped += dropped
            wording.notes += b"x-penstock-context: truncated; dropped=%d\r\n" % dropped
            story.flag(FLAG)


def fitted(request: ChatRequest, room: Room) -> ChatRequest | None:
    """Return `request` without its oldest turns, as few as must go to fit `room`; itself when it fits, None when
    nothing that may be dropped is enough. Linear in the size of the conversation.
    """
    messages = request.messages
    weights = [_weight(ChatRequest(model="", messages=(each,)), room) for each in messages]
    bare = msgspec.structs.replace(request, messages=())
    excess = TOKENS_PER_CONVERSATION + _weight(bare, room) + sum(weights) - room.tokens
    if excess <= 0:
        return request
    gone: set[int] = set()
    for group in _droppable(messages):
        gone.update(group)
        excess -= sum(weights[place] for place in group)
        if excess <= 0:
            kept = tuple(each for place, each in enumerate(messages) if place not in gone)
            return msgspec.structs.replace(request, messages=kept)
    return None


def _chosen(header: bytes | None, rules: ContextSettings) -> str:
    if header is None:
        return rules.on_overflow
    choice = header.decode("latin-1").strip().lower()
    if choice not in CHOICES:
        raise Invalid(
            "There is no such way with an overflow.", code="invalid_header", field=HEADER.decode(), value=choice[:64],
            remedy=f"Use one of: {', '.join(CHOICES)}.",
        )  # fmt: skip
    if choice != rules.on_overflow and not rules.callers_choose:
        raise Forbidden(
            "What becomes of a conversation that is too long is not yours to choose.", code="overflow_not_allowed",
            field=HEADER.decode(), value=choice, remedy=f"Leave the header out, or say {rules.on_overflow}.",
        )  # fmt: skip
    return choice


def _weight(request: ChatRequest, room: Room) -> int:
    """Bound the tokens of a request, apart from what a template puts around every conversation."""
    text = bound_input_tokens(request, 0, 0) - TOKENS_PER_CONVERSATION
    media = (
        bound_input_tokens(request, room.image_tokens, room.document_tokens) - TOKENS_PER_CONVERSATION - text
    )
    return -(-text // room.bytes_per_token) + media


def _droppable(messages: Sequence[Message]) -> list[list[int]]:
    """Return the places that may go, group by group, in the order they go: old turns, then steps of the newest."""
    turns = _grouped(messages, frozenset(("user",)))
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
