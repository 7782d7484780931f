"""The official OpenAI SDK for Node, unchanged, is a customer of the gateway too.

Promise: each check of tests/sdk_node/checks.mjs passes against the product over HTTP; they run once, in one process.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.journeys.openai_customer import NODE_CHECKS, node_checks
from tests.support import run

pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    folder: Path = tmp_path_factory.mktemp("node")
    return run(node_checks(folder), ceiling_s=90)


@pytest.mark.parametrize("name", NODE_CHECKS)
def test_the_node_sdk(name: str, results: Mapping[str, str]) -> None:
    assert not results[name]


def test_there_are_checks() -> None:
    assert len(NODE_CHECKS) >= 20
