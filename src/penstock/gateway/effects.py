"""What an answer depends on or changes beside its request: conversations a vendor keeps, tools that it runs.

Promise: what is free of it may be asked twice and answered once, and its answer may be given to another who asks the
same. The caller's own tools are free of it: only an answer that reaches the caller is acted upon.
"""

from __future__ import annotations

from typing import Final

from penstock.kernel.chat import ChatRequest

WITH_STATE: Final = ("previous_response_id", "conversation", "background", "container", "mcp_servers",
                     "web_search_options")  # fmt: skip
"""Members whose answer depends on, or changes, something outside the request."""


def has_effects(request: ChatRequest) -> bool:
    """Tell whether an answer depends on, or changes, more than itself: state kept at the vendor, tools it runs."""
    extras = request.extras
    if any(name in extras and bytes(extras[name]) != b"null" for name in WITH_STATE):
        return True
    if bytes(extras.get("store", b"")) == b"true":
        return True
    return any("type" in tool.extras for tool in request.tools)
