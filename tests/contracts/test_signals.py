"""Both signals keep every promise of their port: the one in the process, and the one in a real Redis."""

from __future__ import annotations

import pytest

from penstock.contracts.signals import CASES
from penstock.ports import signals as port
from tests.contracts.engines import kept
from tests.contracts.file_harness import promises_checked, promises_of
from tests.contracts.not_tried import tried
from tests.contracts.signal_engines import embedded_signals, redis_signals
from tests.support import run

EACH_CASE = pytest.mark.parametrize(
    "case", [case for _, _, case in CASES.cases], ids=[name for name, _, _ in CASES.cases]
)


@EACH_CASE
def test_embedded(case):
    run(tried("signals/embedded", case, kept(case, embedded_signals())))


@EACH_CASE
def test_redis(case, redis_url):
    run(tried("signals/redis", case, kept(case, redis_signals(redis_url))))


def test_every_promise_has_a_case():
    assert promises_checked(CASES) == promises_of(port)
