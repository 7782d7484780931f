"""Where a request belongs in its caller's trace: the `traceparent` header of W3C Trace Context, version 00.

Promise: what is not exactly of that form is ignored, as the recommendation asks (www.w3.org/TR/trace-context, 3.2.2):
the request is then the first of a trace of its own. Nothing a caller sends there can fail a request.
"""

from __future__ import annotations

import re
from typing import Final

TraceParent = tuple[str, str, bool | None]
"""The trace's id (32 lower-case hexadecimal digits), the caller's span (16), and whether the caller sends its part of
the trace to a collector.
"""
NO_TRACE: Final[TraceParent] = ("", "", None)
_SAMPLED: Final = 0x01
_FORM = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_NO_TRACE_ID: Final = b"0" * 32
_NO_SPAN_ID: Final = b"0" * 16


def read_traceparent(value: bytes) -> TraceParent:
    """Return the caller's place in its trace, or `NO_TRACE`."""
    match = _FORM.fullmatch(value)
    if match is None:
        return NO_TRACE
    trace, span, flags = match.groups()
    if trace == _NO_TRACE_ID or span == _NO_SPAN_ID:
        return NO_TRACE
    return trace.decode(), span.decode(), bool(int(flags, 16) & _SAMPLED)
