"""What stands between a face and a vendor: a line that serves one inquiry from its bytes to its settlement.

Promise: `serve` answers the client once, or raises before anything has left.
"""

from __future__ import annotations

from typing import Protocol

from penstock.gateway.client import Client
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.story import Story
from penstock.kernel.context import RequestContext


class Line(Protocol):
    """Serves inquiries: `gateway/pipeline` chats, `gateway/calls` and `gateway/counting` the rest."""

    async def serve(self, context: RequestContext, inquiry: Inquiry, client: Client, story: Story, /) -> None:
        """Serve one. Raises PenstockError if nothing has left yet."""
        ...
