"""What one idle request costs the gateway, by a measure that no busy machine can change.

Given the whole platform at its defaults, with limits and budgets at every level, and a vendor that answers at once,
when one request is served, then it makes no more calls of Python's functions than docs/decisions/021 allows. Whoever
puts a step on the way of every request meets this test, and either makes the step free while it is idle, or raises the
figure there and here, on purpose.
"""

from __future__ import annotations

from typing import Final

from tests.bench import whole

CALLS_MOST: Final = 260.0


def test_an_idle_request_makes_no_more_calls_than_the_decision_allows() -> None:
    made = whole.calls()
    assert whole.SPINE_CALLS < made <= CALLS_MOST
