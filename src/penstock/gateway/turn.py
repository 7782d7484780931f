"""One request being served: what its rungs share, from admission to settlement."""

from __future__ import annotations

from penstock.gateway.ask import Ask
from penstock.gateway.client import Client
from penstock.gateway.complexity import Cascade
from penstock.gateway.metering import Meter
from penstock.gateway.story import Story
from penstock.gateway.targets import Target
from penstock.gateway.wording import Wording
from penstock.kernel.context import RequestContext


class Turn:
    """An admitted request. `meter` holds its seat; `story` is told what happens to it. A route that asks a small model
    first has `cascade`, which judges its answer, and `larger`, whom to ask then.
    """

    __slots__ = ("ask", "cascade", "client", "context", "larger", "meter", "story", "wording")

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
