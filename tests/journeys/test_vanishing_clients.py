"""A client may vanish at any moment and in any way: its request is settled once and nothing of it stays open.

Promise: twelve points of a request, an orderly close, a reset or silence, both policies; the journal, the
provider's own books and the process agree. The whole matrix, repeated, is evidence S3.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evidence.s3_vanish import Seen, drill, scene
from tests.support import run


@pytest.mark.parametrize(
    ("policy", "way", "stream"),
    [
        ("stop", "fin", True),
        ("stop", "rst", False),
        ("stop", "silent", True),
        ("drain", "rst", True),
        ("drain", "silent", True),
    ],
)
def test_a_vanished_client_is_settled_once_and_leaves_nothing_open(
    tmp_path: Path, policy: str, way: str, stream: bool
) -> None:
    async def round_() -> Seen:
        async with scene(tmp_path, policy, way) as it:
            return await drill(it, policy, way, stream=stream)

    seen = run(round_())
    assert not seen.faults
    assert seen.settled >= 7
    assert (seen.estimated == 0) if policy == "drain" else (seen.estimated > 0)
