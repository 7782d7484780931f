"""What vendors' own prompt caches took off the bill, by organisation and model: counted from the audit.

Promise: a request counts once, under the model that answered it; the saving is what the vendor's figures say, in
nano-dollars, below 0 where writing cost more than reading saved; what a kept answer of ours saved is not in it; memory
is bounded (of more organisations or models than that, the rest is counted together under "").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from penstock.kernel.events import RequestEvent

ORGS_MOST: Final = 4_096
MODELS_MOST: Final = 256
T = TypeVar("T")


class PromptSum(msgspec.Struct, kw_only=True):
    """Requests that a provider answered, their input tokens, and those of them that it had kept."""

    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    saved_nanos: int = 0


class PromptSavings:
    """Listens to the audit. One per process."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self._sums: dict[str, dict[str, PromptSum]] = {}

    def __call__(self, events: Sequence[RequestEvent]) -> None:
        """Count what providers answered."""
        for event in events:
            if event.provider and not event.cache:
                models = self._sums.get(event.org) or _slot(
                    self._sums, event.org, ORGS_MOST, dict[str, PromptSum]
                )
                name = f"{event.provider}/{event.model_used}"
                found = models.get(name) or _slot(models, name, MODELS_MOST, PromptSum)
                found.requests += 1
                found.input_tokens += event.input_tokens
                found.cached_tokens += event.cached_tokens
                found.saved_nanos += event.saved_nanos

    def of(self, org: str) -> dict[str, PromptSum]:
        """Return an organisation's sums by back end (``provider/model``), since this process started."""
        return self._sums.get(org, {})


def _slot(slots: dict[str, T], name: str, most: int, make: Callable[[], T]) -> T:
    """Return the slot of a name, that of "" when there is no room for another."""
    found = slots.get(name)
    if found is None:
        name = name if len(slots) < most else ""
        found = slots.setdefault(name, make())
    return found
