"""What is documented exists, and what exists is documented.

Promise: the generated pages are what the code and the evidence say; every setting, command, error and port promise has
its words; every promise of a port has a case that checks it; every command, file and link that a page shows is real.
"""

from __future__ import annotations

import importlib
import importlib.resources
import importlib.util
import inspect
import re
import shlex
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import cyclopts
import msgspec
import pytest

from penstock.kernel import settings
from penstock.kernel.settings_routes import RoutingDocument
from tests import reference
from tests.evidence import registry, report
from tests.reference import Port

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
WANTED = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "docs/why.md", "docs/tour.md")
DECISION_PARTS = ("context", "choice", "price", "what would change our mind")
# Programs that a page may show and that are not ours; anything else in a console block must be checkable here.
FOREIGN = {"git", "cd", "curl", "export", "cat", "kill", "pip", "npm", "node", "redis-cli", "psql", "echo"}


def written_pages() -> list[Path]:
    """Return every page, the generated ones included."""
    return sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


# ------------------------------------------------------------------------------------------- the checks, pure


def missing_settings_words(group: type[msgspec.Struct]) -> list[str]:
    """Return the settings of a group without a description, and the group itself without a docstring."""
    fields = msgspec.inspect.type_info(group).fields
    bare = [f"{group.__name__}.{f.name}" for f in fields if not reference.described(f).strip()]
    return bare if group.__doc__ and "Struct" not in group.__doc__ else [group.__name__, *bare]


def port_faults(port: Port) -> list[str]:
    """Return what is wrong with a port: no promises, a gap in their numbers, a promise no case checks, a stray case."""
    numbers = list(port.promises)
    faults = [] if numbers else [f"{port.name}: no numbered promises"]
    if numbers != list(range(1, len(numbers) + 1)):
        faults.append(f"{port.name}: promises numbered {numbers}")
    checked = {number for case in port.cases.values() for number in case}
    faults += [
        f"{port.name}: no case checks promise {n}: {port.promises[n]}" for n in numbers if n not in checked
    ]
    faults += [
        f"{port.name}: a case names promise {n}, which is none" for n in sorted(checked - set(numbers))
    ]
    return faults


def commands(app: cyclopts.App, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], cyclopts.App]]:
    """Yield every command below `app` with its path."""
    for name in app:
        if not name.startswith("-"):
            yield (*path, name), app[name]
            yield from commands(app[name], (*path, name))


def shown_commands(text: str) -> Iterator[str]:
    """Yield what follows `$ ` in the console blocks of a page; a backslash at the end goes on in the next line."""
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield line[2:].strip()


def command_fault(line: str, app: Callable[[], cyclopts.App]) -> str:
    """Return why a shown command cannot work, or nothing."""
    words = shlex.split(re.split(r"\s(?:\||>|&&|&$|#)", line)[0], comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    program = words[0] if words else ""
    if program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        unknown = [w for w in words[1:] if "=" not in w and w not in targets]
        return f"no such recipe: {unknown}" if unknown else ""
    if program.removeprefix(".venv/bin/") == "penstock":
        return penstock_fault(words[1:], app())
    if program.rpartition("/")[2] in {"python", "python3"} and words[1:2] == ["-m"]:
        return "" if importlib.util.find_spec(words[2].partition(".")[0]) else f"no module {words[2]}"
    if (ROOT / program).is_file():
        return ""
    return "" if program in FOREIGN else f"unknown program {program!r}"


def penstock_fault(words: list[str], app: cyclopts.App) -> str:
    """Return why the command line would refuse these words, or nothing; nothing is run."""
    try:
        app.parse_args(words, exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def broken_links(page: Path) -> list[str]:
    """Return the links of a page to files or headings of ours that do not exist."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    faults = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = urllib.parse.unquote(target).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file.read_text())):
            faults.append(f"{page.relative_to(ROOT)}: {target}")
    return faults


def anchors(text: str) -> set[str]:
    """Return the anchors of a page: its headings in small letters and those it names itself."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)"', text))


def lost_files(text: str) -> list[str]:
    """Return the files of ours that a page names in backticks and that do not exist."""
    named = re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|sh|toml|lua|md))`", text)
    roots = (ROOT, ROOT / "src" / "penstock", ROOT / "docs")
    return [name for name in named if not any((root / name).exists() for root in roots)]


# ------------------------------------------------------------------------------- what holds for the repository


@pytest.mark.parametrize("name", WANTED)
def test_what_a_newcomer_looks_for_is_there(name: str) -> None:
    assert (ROOT / name).is_file()


@pytest.mark.parametrize("name", ["settings.md", "errors.md", "ports.md", "cli.md"])
def test_a_reference_page_is_what_the_code_says(name: str) -> None:
    written = reference.PAGES / name
    assert written.is_file(), "run `make docs`"
    assert written.read_text() == reference.pages()[name], "run `make docs`"


def test_the_evidence_pages_are_what_the_records_say() -> None:
    for name, text in report.pages(registry.read_all(), registry.titles()).items():
        assert (DOCS / name).is_file(), "run `make docs`"
        assert (DOCS / name).read_text() == text, f"docs/{name}: run `make docs`, never edit it"


def _settings_modules() -> list[str]:
    folder = importlib.resources.files("penstock.kernel")
    return sorted(
        each.name.removesuffix(".py") for each in folder.iterdir() if each.name.startswith("settings")
    )


def test_every_setting_has_its_words() -> None:
    groups = {group for _, group in reference.setting_groups()}
    homes = [vars(importlib.import_module(f"penstock.kernel.{name}")) for name in _settings_modules()]
    declared = {
        g for home in homes for g in home.values() if isinstance(g, type) and issubclass(g, msgspec.Struct)
    }
    declared -= {msgspec.Struct, RoutingDocument}  # that part of them which also travels as a document
    assert declared == groups, "a group of settings that no setting leads to"
    assert [fault for group in groups for fault in missing_settings_words(group)] == []


def test_every_error_has_a_code_of_its_own_and_says_what_happened() -> None:
    classes = reference.error_classes()
    codes = [error.code for error in classes]
    assert len(codes) == len(set(codes))
    assert [e.__name__ for e in classes if not re.match(r"[A-Z].{12,}\.$", reference.first_line(e))] == []


def test_every_promise_of_a_port_has_a_case_that_checks_it() -> None:
    found = reference.ports()
    assert {"ledger", "records", "state", "stream", "blobs", "cache", "signals", "secrets"} <= {
        p.name for p in found
    }
    assert [fault for port in found for fault in port_faults(port)] == []


def test_every_command_says_what_it_does() -> None:
    found = dict(commands(reference.command_line()))
    assert found
    assert [" ".join(path) for path, app in found.items() if len(app.help.strip()) < 10] == []


def test_every_command_that_a_page_shows_exists() -> None:
    faults = [
        f"{page.relative_to(ROOT)}: `{line}`: {fault}"
        for page in written_pages()
        for line in shown_commands(page.read_text())
        if (fault := command_fault(line, reference.command_line))
    ]
    assert not faults, "\n".join(faults)


def test_the_readme_shows_the_two_commands() -> None:
    shown = " ".join(shown_commands((ROOT / "README.md").read_text()))
    assert "make up" in shown
    assert "make test" in shown


def test_every_link_leads_somewhere() -> None:
    assert [fault for page in written_pages() for fault in broken_links(page)] == []


def test_every_file_that_a_page_names_exists() -> None:
    lost = {p.name: names for p in written_pages() if (names := lost_files(p.read_text()))}
    assert lost == {}


def test_decisions_are_numbered_and_complete() -> None:
    files = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    assert [int(f.name[:3]) for f in files] == list(range(1, len(files) + 1))
    assert files
    for file in files:
        headings = [h.lower() for h in re.findall(r"^## (.+)$", file.read_text(), re.MULTILINE)]
        assert [part for part in DECISION_PARTS if part not in headings] == [], file.name


# ------------------------------------------------------------------------------------------ each check can fail


class Undescribed(msgspec.Struct):
    """Seeded: a group with a setting that says nothing."""

    port: int = 1


def sample_app() -> cyclopts.App:
    """Return a command line of one command with one option."""
    app = cyclopts.App(name="penstock")
    keys = cyclopts.App(name="keys")
    app.command(keys)

    @keys.command
    def create(name: str, *, team: str = "") -> None:
        """Create a key."""

    return app


def test_a_setting_without_words_is_caught() -> None:
    assert missing_settings_words(Undescribed) == ["Undescribed.port"]
    assert missing_settings_words(settings.ServerSettings) == []


@pytest.mark.parametrize(
    ("promises", "cases", "fault"),
    [
        ({}, {}, "no numbered promises"),
        ({1: "a", 3: "c"}, {"x": (1, 3)}, "numbered"),
        ({1: "a", 2: "b"}, {"x": (1,)}, "no case checks promise 2"),
        ({1: "a"}, {"x": (1, 2)}, "which is none"),
    ],
)
def test_a_port_that_breaks_its_word_is_caught(
    promises: dict[int, str], cases: dict[str, tuple[int, ...]], fault: str
) -> None:
    assert fault in "\n".join(port_faults(Port("state", "", promises, cases)))
    assert port_faults(Port("state", "", {1: "a", 2: "b"}, {"x": (1,), "y": (2, 1)})) == []


def test_promises_are_read_with_the_lines_that_go_on() -> None:
    doc = "A port.\n\nPromises\n1. One thing\n   and more of it.\n2. Another.\n\nErrors: none."
    assert reference.promises(doc) == {1: "One thing and more of it.", 2: "Another."}


@pytest.mark.parametrize(
    ("line", "sound"),
    [
        ("make test", True),
        ("make evidence ID=S1", True),
        ("make tset", False),
        ("penstock keys create ada --team search | tee key", True),
        ("PENSTOCK_PORT=1 .venv/bin/penstock keys create ada", True),
        ("penstock keys remove ada", False),
        ("penstock keys create ada --colour red", False),
        ("penstock keys create", False),
        ("python -m tests.evidence S1", True),
        ("python -m testz.evidence", False),
        ("scripts/install.sh", True),
        ("scripts/instal.sh", False),
        ("curl -s localhost:8700/healthz", True),
        ("wget localhost", False),
    ],
)
def test_a_shown_command_that_does_not_exist_is_caught(line: str, sound: bool) -> None:
    assert (command_fault(line, sample_app) == "") is sound


def test_commands_are_found_in_console_blocks_only() -> None:
    page = "```console\n$ make \\\n  up\nlistening\n```\n\n```sh\n$ make nothing\n```\n"
    assert [" ".join(line.split()) for line in shown_commands(page)] == ["make up"]
    assert [" ".join(path) for path, _ in commands(sample_app())] == ["keys", "keys create"]


def test_dead_links_and_lost_files_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect.getmodule(broken_links), "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        '# A heading, here\n<a id="s1"></a>\n[a](#a-heading-here) [b](#s1) [c](page.md) [d](https://x.org)\n'
    )
    assert broken_links(page) == []
    page.write_text("[a](#nowhere) [b](gone.md) `kernel/gone.py`\n")
    assert broken_links(page) == ["page.md: #nowhere", "page.md: gone.md"]
    assert lost_files("`kernel/gone.py` `gone.py` `x`") == ["kernel/gone.py"]
