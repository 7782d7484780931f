"""What stands between a face and a vendor: a line that serves one inquiry from its bytes to its settlement.

Promise: `serve` answers the client once, or raises before anything has left.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from penstock.gateway.client import Client
from penstock.gateway.inquiry import Inquiry
from penstock.gateway.story import Story
from penstock.kernel.context import RequestContext


class Line(Protocol):
    """Serves inquiries: `gateway/pipeline` chats, `gateway/calls` and `gateway/counting` the rest."""

    def serve(
        self, context: RequestContext, inquiry: Inquiry, client: Client, story: Story, /
    ) -> Coroutine[Any, Any, None]:
        """Serve one. Raises PenstockError if nothing has left yet."""
        ...
