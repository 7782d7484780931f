"""The seeded bugs of evidence S12 are bugs of the code as it stands: whoever moves the code moves its seed along."""

from __future__ import annotations

import pytest

from tests.evidence.registry import ROOT
from tests.evidence.seed import Seed, StaleSeed
from tests.evidence.seeds import SEEDS


@pytest.mark.parametrize("seed", SEEDS, ids=[seed.name for seed in SEEDS])
def test_a_seed_is_one_edit_of_the_code_as_it_stands(seed: Seed) -> None:
    text = seed.place(ROOT).read_text()
    bad = seed.planted(text)
    assert bad != text
    if seed.file.endswith(".py"):
        compile(bad, seed.file, "exec")
    assert [path for path in seed.paths if not (ROOT / path).exists()] == []


def test_there_are_thirty_and_no_two_are_the_same() -> None:
    assert (
        len(SEEDS) == len({seed.name for seed in SEEDS}) == len({(s.file, s.old, s.new) for s in SEEDS}) == 30
    )


@pytest.mark.parametrize("text", ["nothing of it", "twice, twice"])
def test_a_seed_that_no_longer_applies_is_named(text: str) -> None:
    seed = Seed("the old bug", "a promise", "one.py", "twice", "never", ())
    with pytest.raises(StaleSeed, match="the old bug"):
        seed.planted(text)
