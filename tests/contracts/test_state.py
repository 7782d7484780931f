"""Both states keep every promise of their port: the one in the process, and the one in a real Redis."""

from __future__ import annotations

import pytest

from penstock.contracts.state import CASES
from penstock.ports import state as port
from tests.contracts.engines import embedded_state, kept, redis_state
from tests.contracts.file_harness import promises_checked, promises_of
from tests.contracts.not_tried import tried
from tests.support import run

EACH_CASE = pytest.mark.parametrize(
    "case", [case for _, _, case in CASES.cases], ids=[name for name, _, _ in CASES.cases]
)


@EACH_CASE
def test_embedded(case):
    run(tried("state/embedded", case, kept(case, embedded_state())))


@EACH_CASE
def test_redis(case, redis_url):
    run(tried("state/redis", case, kept(case, redis_state(redis_url))))


def test_every_promise_has_a_case():
    assert promises_checked(CASES) == promises_of(port)
