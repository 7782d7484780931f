"""One stretch of a request's time as a value: what the console draws and a collector is sent.

Promise: what is in it, both ends of a wire can carry: valid Unicode, integers of 64 bits, finite figures.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Attribute = str | int | float | bool | tuple[str, ...]
Kind = Literal["server", "internal", "client"]
NS_PER_MS = 1_000_000


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A span as OpenTelemetry knows it. `began_ms` and `ended_ms` count from the request's first byte.

    `origin_ns` is the wall time of that first byte, in nanoseconds since 1970. Ids are lower-case hexadecimal: 32
    digits for `trace_id`, 16 for `span_id` and `parent_id` ("" for a span without a parent; `remote_parent` when the
    parent is the caller's). `depth` is 0 for the root. `error` is what went wrong, "" when nothing did; `failed` tells
    a failure from a refusal, which is an answer like any other.
    """

    name: str
    kind: Kind
    began_ms: float
    ended_ms: float
    depth: int = 0
    attributes: dict[str, Attribute] = {}
    error: str = ""
    failed: bool = False
    trace_id: str
    span_id: str
    parent_id: str = ""
    remote_parent: bool = False
    origin_ns: int = 0

    @property
    def began_ns(self) -> int:
        """Return when it began, in nanoseconds since 1970."""
        return self.origin_ns + round(self.began_ms * NS_PER_MS)

    @property
    def ended_ns(self) -> int:
        """Return when it ended, in nanoseconds since 1970."""
        return self.origin_ns + round(self.ended_ms * NS_PER_MS)
