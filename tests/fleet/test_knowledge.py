"""A gateway that is killed while it ingests and while a model changes shows nobody a half, a mixture or another's, and
what is left is what a rebuild makes. The full run is `make evidence ID=E3`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fleet.knowledge_drill import drill
from tests.support import run

pytestmark = pytest.mark.fleet


def test_collections_survive_three_kills(tmp_path: Path) -> None:
    tally = run(drill(tmp_path, 3), 180.0)
    assert tally.broken == []
    assert (tally.kills, set(tally.jobs)) == (3, {"complete"})
    assert tally.searches > 0 and tally.rows > 0
