"""The command line's manners: one line for an error, the table's exit code, no traceback, no secret."""

from __future__ import annotations

import json

import pytest

from penstock.cli import main as root
from penstock.cli.main import COMMANDS, app, main
from penstock.kernel import errors


@pytest.fixture(autouse=True)
def away(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Run every command in an empty folder, with nothing of ours in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("PENSTOCK_URL", "PENSTOCK_KEY", "PENSTOCK_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Have any command fail with `error`."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(root, "app", fail)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.Invalid("Wrong."), 2), (errors.Unauthenticated(), 3), (errors.Forbidden(), 3), (errors.NotFound(), 4),
        (errors.OverBudget(), 5), (errors.TimedOut(), 6), (errors.StaleVersion(), 7), (errors.Broken("x"), 70),
        (KeyboardInterrupt(), 130),
    ],
)  # fmt: skip
def test_the_exit_code_is_that_of_the_error_table(monkeypatch, capsys, error, code):
    failing(monkeypatch, error)
    assert main(["keys", "list"]) == code
    assert capsys.readouterr().out == ""


def test_an_error_is_one_line_with_field_value_limit_and_remedy(monkeypatch, capsys):
    failing(monkeypatch, errors.Invalid("Too much.", field="--day", value=9, limit=5, remedy="Give less."))
    main(["teams", "set"])
    assert (
        capsys.readouterr().err == "penstock: Too much. · field: --day · value: 9 · limit: 5 · Give less.\n"
    )


def test_an_error_is_one_json_object_when_json_is_asked_for(monkeypatch, capsys):
    failing(monkeypatch, errors.NotFound("No such key.", field="key", value=object))
    assert main(["keys", "list", "--json"]) == 4
    told = json.loads(capsys.readouterr().err)["error"]
    assert (told["code"], told["message"], told["field"]) == ("not_found", "No such key.", "key")


def test_an_unforeseen_error_tells_where_and_not_what(monkeypatch, capsys):
    failing(monkeypatch, ValueError("the key is pen-secret"))
    assert main(["keys", "list"]) == 70
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert "pen-secret" not in told
    assert "ValueError at test_main.py:" in told
    assert told.endswith("This is a bug.\n")


@pytest.mark.parametrize(
    "words",
    [
        ["kyes"],
        ["keys", "crate"],
        ["serve", "--wrokers", "2"],
        ["teams", "set", "planet", "mars"],
        ["serve", "--port", "x"],
    ],
)
def test_a_command_that_does_not_exist_is_refused_with_a_hint(capsys, words):
    assert main(words) == 2
    told = capsys.readouterr().err
    assert told.startswith("penstock: ")
    assert told.count("\n") == 1
    assert "penstock --help" in told


@pytest.mark.parametrize("words", [["keys", "list"], ["budgets", "list"], ["status"], ["ledger", "verify"]])
def test_without_a_key_the_remedy_is_named_and_no_server_is_asked(capsys, words):
    assert main(words) == 3
    assert "--key-file" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_one_line_with_its_remedy(monkeypatch, capsys):
    monkeypatch.setenv("PENSTOCK_KEY", "pen-aaaaaaaaaaaa-" + "k" * 43)
    assert main(["keys", "list", "--url", "http://127.0.0.1:9"]) == 6
    told = capsys.readouterr().err
    assert "penstock up" in told
    assert "http://127.0.0.1:9" in told
    assert "kkkk" not in told
    assert told.count("\n") == 1


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()[0].isdigit()


@pytest.mark.parametrize("name", [name for name, _, _ in COMMANDS])
def test_the_list_of_commands_says_what_each_says_of_itself(name):
    listed = {each: text for each, _, text in COMMANDS}[name]
    assert " ".join(app[name].help.split("\n\n")[0].split()) == listed
