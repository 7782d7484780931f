"""The house is tidy, and each rule that says so can fail.

Promise: every rule of tests/tidy_rules.py holds for every file of the repository, catches a seeded violation, and lets
the nearest innocent text pass.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests import tidy_rules as rules
from tests.tidy_rules import RULES, Rule, Source

ROOT = Path(__file__).resolve().parent.parent


def tracked() -> list[Source]:
    """Return the text files that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    ).stdout.decode()
    sources = []
    for name in filter(None, listed.split("\0")):
        try:
            sources.append(Source(name, (ROOT / name).read_text(encoding="utf-8")))
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue  # a picture, or a file deleted and not yet committed
    return sources


SOURCES = tracked()
SRC = "src/penstock/gateway/admission.py"
MONEY = "src/penstock/kernel/money.py"


def long_function(lines: int) -> str:
    """A function of exactly that many lines."""
    return "def f():\n" + "    a = 1\n" * (lines - 1)


def forked_function(forks: int) -> str:
    """A function whose complexity is `forks` + 1."""
    return "def f(a):\n" + "    if a: pass\n" * forks


# rule, path, what it must catch, what it must let pass
SEEDS: list[tuple[Rule, str, str, str]] = [
    (rules.file_is_short, SRC, "a = 1\n" * 401, "a = 1\n" * 400),
    (rules.file_is_short, "src/penstock/adapters/state/take.lua", "a = 1\n" * 401, "a = 1\n" * 400),
    (rules.functions_are_short, SRC, long_function(61), long_function(60)),
    (rules.functions_are_short, SRC, "async " + long_function(61), "async " + long_function(60)),
    (rules.functions_are_simple, SRC, forked_function(10), forked_function(9)),
    (
        rules.functions_take_few_arguments,
        SRC,
        "def f(a,b,c,d,e,f,g): ...",
        "def f(self,a,b,c,d,e,f,*,g): ...",
    ),
    (rules.nothing_is_global, SRC, "def f():\n global a\n a = 1", "a = 1"),
    (
        rules.own_imports_are_at_the_top,
        SRC,
        "def f():\n from penstock.kernel import ids",
        "def f():\n import json",
    ),
    (rules.own_imports_are_at_the_top, SRC, "def f():\n import penstock.sdk", "import penstock.sdk"),
    (rules.environment_is_read_in_one_file, SRC, "import os\na = os.environ['A']", "import os\nos.getpid()"),
    (rules.environment_is_read_in_one_file, SRC, "from os import getenv", "from os import getpid"),
    (
        rules.broad_excepts_say_why,
        SRC,
        "try: pass\nexcept Exception:\n pass",
        "try: pass\nexcept Exception:  # because a hook must not fail us\n pass",
    ),
    (rules.broad_excepts_say_why, SRC, "try: pass\nexcept:\n pass", "try: pass\nexcept OSError:\n pass"),
    (
        rules.broad_excepts_say_why,
        SRC,
        "try: pass\nexcept (ValueError, BaseException):\n pass",
        "try: pass\nexcept (ValueError, OSError):\n pass",
    ),
    (rules.modules_open_with_a_docstring, SRC, "a = 1", '"""What it is."""\na = 1'),
    (rules.inits_hold_at_most_a_docstring, "src/penstock/net/__init__.py", '"""It."""\na = 1', '"""It."""'),
    (rules.money_is_whole, MONEY, "a = 0.5", "a = 5"),
    (rules.money_is_whole, MONEY, "a_nanos = 0.5", "pause_s = 0.5"),
    (rules.money_is_whole, MONEY, "def f(a=0.5): ...", "def f(a_s=0.5): ..."),
    (rules.money_is_whole, MONEY, "f(a=0.5)", "f(a_s=0.5)"),
    (rules.money_is_whole, MONEY, "a = float('5')", "a = int('5')"),
    (rules.money_is_whole, MONEY, "def f(a, b): return a / b", "def f(a, b): return a // b"),
    (rules.money_is_whole, MONEY, "def f(a, b):\n a /= b", "def f(a):\n return a / 'name'"),
    (rules.money_is_whole, "src/penstock/adapters/ledger/sqlite.py", "a = 0.5", "a = 5"),
    (rules.everything_is_finished, SRC, "# TO" + "DO later", "# to do later"),
    (rules.everything_is_finished, SRC, "raise NotImplemented" + "Error", "return NotImplemented"),
    (rules.everything_is_finished, "tests/unit/test_a.py", "pytest." + "skip('no redis')", "skip_blank()"),
    (rules.everything_is_finished, "tests/unit/test_a.py", "@pytest.mark." + "skip", "@pytest.mark.redis"),
    (rules.silenced_checks_say_why, SRC, "a = 1  # no" + "qa", "a = 1  # a comment"),
    (
        rules.silenced_checks_say_why,
        SRC,
        "a = 1  # no" + "qa: S101",
        "a = 1  # no" + "qa: S101, D1 because the caller has checked",
    ),
    (
        rules.silenced_checks_say_why,
        SRC,
        "a = 1  # type: ign" + "ore[misc]",
        "a = 1  # type: ign" + "ore[misc] because the stub is wrong",
    ),
    (rules.no_registry_is_named, "README.md", "https://py" + "pi.org/simple", "https://example.org/simple"),
    (rules.no_registry_is_named, "README.md", "cd /wor" + "k/main", "the net/wor" + "k/main"),
    (
        rules.requirements_are_locked,
        "requirements/base.txt",
        "a==1.0\n",
        "a==1.0 \\\n    --hash=sha256:00\n    # via b\n",
    ),
    (
        rules.requirements_are_locked,
        "requirements/base.txt",
        "a @ https://example.org/a.whl --hash=sha256:00",
        "a[b]==1.0 --hash=sha256:00",
    ),
    (rules.requirements_are_locked, "requirements/base.txt", "a>=1 --hash=sha256:00", "# a"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule: Rule) -> None:
    broken = [violation for source in SOURCES for violation in rule(source)]
    assert not broken, f"{rule.__doc__}\n" + "\n".join(broken)


@pytest.mark.parametrize(
    ("rule", "path", "bad", "good"), SEEDS, ids=[f"{n}-{seed[0].__name__}" for n, seed in enumerate(SEEDS)]
)
def test_each_rule_catches_a_seeded_violation_and_nothing_innocent(
    rule: Rule, path: str, bad: str, good: str
) -> None:
    assert rule(Source(path, bad))
    assert rule(Source(path, good)) == []


@pytest.mark.parametrize("name", ["utils.py", "helpers/a.py", "common/__init__.py", "_helper.py"])
def test_names_that_say_nothing_are_caught(name: str) -> None:
    assert rules.names_say_what_is_inside(Source(f"src/penstock/{name}", ""))
    assert rules.names_say_what_is_inside(Source("src/penstock/utilities_bill.py", "")) == []


def test_every_rule_has_a_seed() -> None:
    assert {rule for rule, *_ in SEEDS} | {rules.names_say_what_is_inside} == set(RULES)


def test_the_environments_home_and_the_floats_outside_money_are_let_pass() -> None:
    assert rules.environment_is_read_in_one_file(Source(rules.ENVIRONMENT, "import os\nos.environ")) == []
    assert rules.money_is_whole(Source(SRC, "a = 0.5 / 2")) == []


def test_the_rules_look_at_the_files_there_are() -> None:
    paths = {source.path for source in SOURCES}
    assert {
        "src/penstock/kernel/money.py",
        "tests/tidy_rules.py",
        "Makefile",
        "requirements/base.txt",
    } <= paths


def test_at_most_three_functions_are_excused_each_with_its_reason() -> None:
    assert len(rules.COMPLEX) <= 3
    assert all(len(reason.split()) >= 5 for reason in rules.COMPLEX.values())
    defined = {(source.path, f.name) for source in SOURCES for f in source.functions}
    assert set(rules.COMPLEX) <= defined, "an excuse outlived its function"


def test_one_init_is_excused_with_its_reason() -> None:
    assert len(rules.INITS) == 1
    assert all(len(reason.split()) >= 5 for reason in rules.INITS.values())
    holding = {s.path for s in SOURCES if s.path.endswith("__init__.py") and s.path in rules.INITS}
    assert holding == set(rules.INITS), "an excuse outlived its file"


def test_complexity_is_excused_nowhere_else() -> None:
    silencer = re.compile("no" + r"qa:[^#]*\b(?:C901|PLR0912|PLR0915)\b")
    excused = [s.at(n, line) for s in SOURCES for n, line in enumerate(s.lines, 1) if silencer.search(line)]
    assert len(excused) <= len(rules.COMPLEX), "\n".join(excused)


def test_every_ignored_lint_rule_has_its_reason() -> None:
    section = (ROOT / "pyproject.toml").read_text().split("[tool.ruff.lint]")[1]
    section = section.split("[tool.pyright]")[0]
    ignored = re.findall(r'^    "([A-Z]+\d+|[A-Z]{2,4})",(.*)$', section, re.MULTILINE)
    assert len(ignored) > 20
    bare = [
        code for code, reason in ignored if code not in {"D102", "D103", "S106", "S107"} and "#" not in reason
    ]
    assert not bare, f"say why next to {bare}"


def test_every_recipe_has_a_comment_above_it() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert phony
    asked = {"up", "test", "check", "fleet", "bench", "soak", "evidence", "docs", "clean"}
    assert asked <= set(phony[1].split())
    for target in phony[1].split():
        assert re.search(rf"^# {target}: .{{15,}}\n{target}:", text, re.MULTILINE), (
            f"no comment above {target}"
        )


def test_no_folder_of_tests_is_forgotten() -> None:
    """A folder that `make test` leaves out has a recipe of its own."""
    left_out = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"][
        "norecursedirs"
    ]
    recipes = (ROOT / "Makefile").read_text()
    folders = {
        Path(s.path).parts[1] for s in SOURCES if s.path.startswith("tests/") and s.path.count("/") > 1
    }
    for folder in folders & set(left_out):
        assert re.search(rf"tests[./]{folder}", recipes), f"no recipe runs tests/{folder}"
