"""Every index keeps every promise of its port: the embedded one (all in memory, and with graphs), a real PostgreSQL."""

from __future__ import annotations

import pytest

from penstock.contracts.index import CASES
from penstock.ports import index as port
from tests.contracts.engines import kept
from tests.contracts.file_harness import promises_checked, promises_of
from tests.contracts.index_engines import LARGE, embedded_index
from tests.contracts.not_tried import tried
from tests.support import run

EACH_CASE = pytest.mark.parametrize(
    "case", [case for _, _, case in CASES.cases], ids=[name for name, _, _ in CASES.cases]
)


@EACH_CASE
def test_embedded(case, tmp_path):
    run(tried("index/embedded", case, kept(case, embedded_index(tmp_path))))


@EACH_CASE
def test_embedded_with_graphs(case, tmp_path):
    run(tried("index/embedded", case, kept(case, embedded_index(tmp_path, LARGE))))


def test_every_promise_has_a_case():
    assert promises_checked(CASES) == promises_of(port)
