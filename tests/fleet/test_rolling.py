"""Processes are replaced under load and nobody notices. Twenty times: `make evidence ID=S10`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evidence.s10_rolling import faults, rolled
from tests.support import run

pytestmark = [pytest.mark.fleet, pytest.mark.redis, pytest.mark.postgres]


def test_a_rolling_restart_fails_no_request_and_cuts_no_stream(tmp_path: Path) -> None:
    assert faults(run(rolled(tmp_path, 2, "served"), 180.0)) == []


def test_the_listening_socket_alone_is_enough_to_hand_over(tmp_path: Path) -> None:
    assert faults(run(rolled(tmp_path, 2, "by hand"), 180.0)) == []
