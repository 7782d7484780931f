"""The runner of evidence S12 is fair: it calls caught only what a test noticed, and leaves the tree as it was."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.evidence import s12_seeded as s12
from tests.evidence.registry import ROOT
from tests.evidence.seed import Seed

PASSES = "def test_two():\n    from penstock.one import TWO\n    assert TWO == 2\n"


def seeded(tree: Path, new: str, test: str = PASSES) -> Seed:
    """Make a tree of one module and one test; return a seed that puts `new` in the place of its 2."""
    (tree / "src" / "penstock").mkdir(parents=True)
    (tree / "tests").mkdir()
    (tree / "src" / "penstock" / "__init__.py").touch()
    (tree / "src" / "penstock" / "one.py").write_text("TWO = 2\n")
    (tree / "tests" / "test_one.py").write_text(test)
    return Seed("a bug", "two is two", "one.py", "2", new, ("tests/test_one.py",))


def test_a_seed_that_a_test_notices_is_caught_by_its_name_and_taken_out_again(tmp_path: Path) -> None:
    seed = seeded(tmp_path, "3")
    before = seed.place(tmp_path).stat().st_mtime_ns
    assert s12.require_green(tmp_path, [seed]) > 0
    assert s12.judge(tmp_path, seed).caught_by == "tests/test_one.py::test_two"
    assert seed.place(tmp_path).read_text() == "TWO = 2\n"
    assert seed.place(tmp_path).stat().st_mtime_ns == before


def test_a_seed_that_no_test_notices_survives_and_the_whole_suite_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s12, "WHOLE", ("tests",))
    seed = seeded(tmp_path, "2  # the same")
    assert s12.judge(tmp_path, seed).caught_by == ""
    (tmp_path / "tests" / "test_all.py").write_text(
        "from pathlib import Path\nimport penstock.one\n"
        "def test_all():\n    assert '#' not in Path(penstock.one.__file__).read_text()\n"
    )
    assert s12.judge(tmp_path, seed).caught_by == "tests/test_all.py::test_all"


def test_a_seed_that_hangs_the_suite_is_caught_and_nothing_of_it_runs_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s12, "HANG_S", 1.5)
    monkeypatch.setattr(s12, "LEAVE_S", 0.5)
    seed = seeded(tmp_path, f"__import__('time').sleep(600)  # {tmp_path}")
    assert s12.judge(tmp_path, seed).caught_by == s12.HANGS
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False)
    assert left.stdout.split() == []


def test_a_seed_that_does_not_even_run_is_not_called_caught(tmp_path: Path) -> None:
    with pytest.raises(s12.NotJudged, match="a bug"):
        s12.judge(
            tmp_path, seeded(tmp_path, "2 +", "from penstock.one import TWO\ndef test_two(): assert TWO")
        )


def test_a_test_that_fails_at_random_catches_nothing(tmp_path: Path) -> None:
    seed = seeded(tmp_path, "3", "def test_two():\n    raise AssertionError\n")
    with pytest.raises(s12.NotGreen, match=r"a bug: tests/test_one\.py::test_two"):
        s12.judge(tmp_path, seed)


def test_a_suite_that_fails_without_a_seed_judges_nothing(tmp_path: Path) -> None:
    seed = seeded(tmp_path, "3", PASSES.replace("== 2", "== 4"))
    with pytest.raises(s12.NotGreen, match="test_two"):
        s12.require_green(tmp_path, [seed])


def test_the_copy_has_the_code_and_not_what_git_ignores(tmp_path: Path) -> None:
    s12.copy(tmp_path)
    assert (tmp_path / "src/penstock/gateway/pipeline.py").read_text() == (
        ROOT / "src/penstock/gateway/pipeline.py"
    ).read_text()
    assert not (tmp_path / ".venv").exists()
