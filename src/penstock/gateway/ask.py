"""What admission needs to know of a request, whatever dialect it came in, worked out once.

Promise: `bound_tokens` is an upper bound and `least_input_tokens` a lower bound of what a vendor's tokenizer
counts; `input_tokens`, which is held, is the upper bound within the model's window (no vendor bills more than it
reads). None of them is ever a bill.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.dialects.envelope import Envelope
from penstock.gateway.routing import Target
from penstock.mechanisms.least_tokens import least_tokens
from penstock.mechanisms.tokens import (
    DOCUMENT_TOKENS_MAX,
    IMAGE_TOKENS_MAX,
    TOKENS_FOR_TOOLS,
    TOKENS_PER_CONVERSATION,
)


class Ask:
    """One chat request at the gate. `images` counts pictures billed by the piece."""

    __slots__ = (
        "_least",
        "bound_tokens",
        "envelope",
        "images",
        "input_tokens",
        "max_output_tokens",
        "model",
        "n",
        "output_cap",
        "requests",
    )

    def __init__(self, envelope: Envelope, image_tokens_max: int, context_window: int) -> None:
        """Bound the tokens of `envelope`; `image_tokens_max` is the most one picture can become, and
        `context_window` (0: unknown) the most a document can.
        """
        self.envelope = envelope
        self.model = envelope.model
        self.n = envelope.n
        self.images = envelope.images
        self.requests = 1
        """What a vendor that bills by the request can make of it at most."""
        self.max_output_tokens = envelope.output_limit
        self.output_cap = 0
        """Answer tokens that the operator's rules allow; 0: no limit of theirs."""
        # Every token covers at least one byte of the body; only templates, pictures and documents add to that.
        tokens = envelope.prompt_bytes + TOKENS_PER_CONVERSATION + envelope.images * image_tokens_max
        if envelope.has_tools:
            tokens += TOKENS_FOR_TOOLS
        if envelope.other_parts:
            tokens += context_window or DOCUMENT_TOKENS_MAX
        self.bound_tokens = tokens
        self.input_tokens = min(tokens, context_window) if context_window else tokens
        self._least = -1

    @property
    def is_chat(self) -> bool:
        """Whether there is a conversation, and an answer of some length: what is embedded, say, has neither."""
        return self.envelope.message_count > 0

    def least_input_tokens(self) -> int:
        """Return the fewest tokens the prompt can have; counted only when a limit is near."""
        if self._least < 0:
            self._least = least_tokens(self.envelope.texts())
        return self._least


def asked(envelope: Envelope, targets: Sequence[Target]) -> Ask:
    """Bound a request for whichever of its targets answers: the widest window and the largest picture count."""
    if len(targets) == 1:  # the usual route
        price = targets[0].price
        return Ask(envelope, price.image_tokens_max or IMAGE_TOKENS_MAX, price.context_window)
    prices = [target.price for target in targets]
    windows = [price.context_window for price in prices]
    images = max([price.image_tokens_max or IMAGE_TOKENS_MAX for price in prices])
    return Ask(envelope, images, max(windows) if all(windows) else 0)
