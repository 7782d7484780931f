"""The caller's place in a trace is taken when it is exactly of W3C's form, and ignored when it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.kernel.trace_context import NO_TRACE, read_traceparent

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
GOOD = b"00-%b-%b-01" % (TRACE, SPAN)


@pytest.mark.parametrize(
    ("flags", "sampled"), [(b"00", False), (b"01", True), (b"02", False), (b"03", True), (b"ff", True)]
)
def test_an_exact_header_names_trace_and_span_and_what_the_caller_decided(
    flags: bytes, sampled: bool
) -> None:
    assert read_traceparent(b"00-%b-%b-%b" % (TRACE, SPAN, flags)) == (TRACE.decode(), SPAN.decode(), sampled)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        GOOD + b" ",
        b" " + GOOD,
        GOOD + b"\n",
        GOOD + b"-00",
        GOOD[:-1],
        GOOD.upper(),
        GOOD.replace(b"-", b"_"),
        b"01" + GOOD[2:],
        b"ff" + GOOD[2:],
        b"00-%b-%b-01" % (b"0" * 32, SPAN),
        b"00-%b-%b-01" % (TRACE, b"0" * 16),
        b"00-%b-%b-01" % (TRACE[:-1], SPAN),
        b"00-%b-%b-01" % (TRACE + b"0", SPAN),
        b"00-%b-%b-01" % (TRACE, SPAN[:-1]),
        b"00-%b-%b-0g" % (TRACE, SPAN),
        b"00-%b-%b-01" % (TRACE[:-1] + b"g", SPAN),
        GOOD + b", " + GOOD,
        "00-{}-{}-01".format("٣" * 32, SPAN.decode()).encode(),
    ],
)
def test_anything_else_is_ignored(value: bytes) -> None:
    assert read_traceparent(value) == NO_TRACE


@given(st.binary(max_size=80))
def test_no_bytes_can_fail_a_request(value: bytes) -> None:
    trace, span, sampled = read_traceparent(value)
    assert (len(trace), len(span), sampled is None) in {(0, 0, True), (32, 16, False)}
