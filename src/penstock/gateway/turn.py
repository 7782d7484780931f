"""One request being served: what its rungs share, from admission to settlement."""

from __future__ import annotations

from typing import Protocol

from penstock.gateway.ask import Ask
from penstock.gateway.attempt import StreamedAnswer
from penstock.gateway.client import Client
from penstock.gateway.complexity import Cascade
from penstock.gateway.metering import Meter
from penstock.gateway.story import Story
from penstock.gateway.targets import Target
from penstock.gateway.wording import Wording
from penstock.kernel.context import RequestContext
from penstock.ports.providers import ChatReplyStream, ProviderFailure


class Resumption(Protocol):
    """What may be done when a streamed answer breaks off; see `gateway/resuming`."""

    targets: tuple[Target, ...]

    async def go_on(
        self, target: Target, answer: StreamedAnswer, failure: ProviderFailure, /
    ) -> tuple[Target, StreamedAnswer]:
        """Return who goes on, and its answer that has begun. Raises `failure` when nobody can."""
        ...


class Turn:
    """An admitted request. `meter` holds its seat; `story` is told what happens to it. A route that asks a small model
    first has `cascade`, which judges its answer, and `larger`, whom to ask then. One whose answer may be gone on with
    has `resuming`, and `resumed_by` once it was. Once it is answered, `reply` is the vendor's own.
    """

    __slots__ = ("ask", "cascade", "client", "context", "larger", "meter", "reply", "resumed_by", "resuming", "story",
                 "wording")  # fmt: skip

    def __init__(
        self,
        context: RequestContext,
        client: Client,
        *,
        wording: Wording,
        ask: Ask,
        meter: Meter,
        story: Story,
    ) -> None:
        """Join what admission left."""
        self.context = context
        self.client = client
        self.wording = wording
        self.ask = ask
        self.meter = meter
        self.story = story
        self.cascade: Cascade | None = None
        self.larger: tuple[Target, ...] = ()
        self.resuming: Resumption | None = None
        self.resumed_by: Target | None = None
        self.reply: ChatReplyStream | None = None
