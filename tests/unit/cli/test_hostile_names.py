"""Whoever may name a team, a model or themselves must not steer the terminal of whoever looks on.

Promise: every text of every reply reaches the screen with its control characters escaped, in tables, pictures, lines,
errors and JSON alike. The replies here are made from the SDK's own types, so that a field added later is hostile too.
"""

from __future__ import annotations

import json
import typing
import unicodedata
from typing import Any

import msgspec
import pytest

from penstock.cli.output import complain, line, shown
from penstock.kernel import errors
from penstock.sdk import people, replies, requests
from tests.unit.cli.far import HOLD, event, terminal

EVIL = "\x1b]0;owned\x07\x9b2J\u202eevil\u200b\nforged\r\x7f\U000e0041"
ID = "per_1"
UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
SAID: dict[str, Any] = {"window": "day", "id": ID, "request_id": "req_1", "after": ""}
"""Fields whose values are read rather than shown."""


def hostile(kind: Any, name: str = "") -> Any:
    """Return a value of a type in which every text is hostile and every number is not nothing."""
    if kind is str and name in SAID:
        return SAID[name]
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return kind(**{field: hostile(hints[field], field) for field in kind.__struct_fields__})
    if origin is tuple:
        return (hostile(inner[0]),) * 2 if inner[-1] is Ellipsis else tuple(map(hostile, inner))
    if origin is dict:
        return {hostile(inner[0]): hostile(inner[1])}
    if inner:
        return hostile(inner[0])
    return {str: EVIL, int: 7, float: 3.5, bool: False}[kind]


REPLIES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "status": ((), {"GET /status": hostile(replies.Status), "GET /overview": hostile(requests.Overview)}),
    "requests list": ((), {"GET /requests": hostile(requests.RequestPage)}),
    "requests show": (("req_1",), {"GET /requests/req_1": hostile(requests.RequestDetail)}),
    "usage team": ((), {"GET /usage": (
        replies.Usage(account=f"org:x/team:{EVIL}@2026-11-20", posted_nanos=1, held_nanos=1, requests=1),)}),
    "usage --by team,model": ((), {"GET /costs": lambda query: requests.Costs(
        by=tuple(query["by"].split(",")),
        rows=(requests.CostRow(group=("0" if "day" in query["by"] else EVIL, EVIL), cost_nanos=5),),
        total=requests.CostSum(cost_nanos=5), since_s=0.0, until_s=86_400.0)}),
    "keys list": ((), {"GET /keys": hostile(tuple[replies.Key, ...])}),
    "keys create": ((), {"POST /keys": hostile(replies.MadeKey)}),
    "keys revoke": ((ID,), {f"DELETE /keys/{ID}": hostile(replies.Key)}),
    "teams list": (("team",), {"GET /scopes": hostile(tuple[replies.ScopeLimits, ...])}),
    "teams set": (("team", "x"), {"PUT /scopes": hostile(replies.ScopeLimits)}),
    "budgets list": ((), {"GET /budgets": hostile(tuple[replies.Budget, ...])}),
    "prices list": ((), {"GET /prices": hostile(tuple[replies.ModelPrice, ...])}),
    "ledger verify": ((), {"GET /ledger/verify": hostile(replies.LedgerReport)}),
    "people list": ((), {"GET /people": hostile(tuple[people.PersonView, ...])}),
    "people invite": (("a@b.test", "A"), {"POST /people": hostile(people.Invited)}),
    "people disable": ((ID,), {f"POST /people/{ID}/disable": hostile(people.PersonView)}),
    "changes": ((), {"GET /changes": hostile(tuple[people.ChangeView, ...])}),
}  # fmt: skip


def is_harmless(said: str) -> bool:
    return not [each for each in said if each != "\n" and unicodedata.category(each) in UNSEEN]


@pytest.mark.parametrize("as_json", [False, True], ids=["people", "json"])
@pytest.mark.parametrize("command", REPLIES)
def test_no_reply_steers_the_terminal(far, penstock, command, as_json):
    more, answers = REPLIES[command]
    far.answers |= answers
    name, *options = command.split(" --")
    words = [*name.split(), *more, *(f"--{each}".split(" ") for each in options)]
    flat = [word for each in words for word in ([each] if isinstance(each, str) else each)]
    code, out, err = penstock(*flat, *(["--json"] if as_json else []))
    assert code in (0, 1), err
    assert is_harmless(out)
    assert "owned" in out
    assert ("\\u001b" if as_json else "\\x1b") in out
    if as_json:
        assert [each for each in texts(json.loads(out)) if EVIL in each]  # and a program reads what it was


def texts(value: Any) -> set[str]:
    """Return every text in a document, keys too."""
    if isinstance(value, dict):
        return set(value).union(*map(texts, value.values()))
    if isinstance(value, list):
        return set().union(*map(texts, value))
    return {value} if isinstance(value, str) else set()


@pytest.mark.parametrize("as_json", [False, True])
def test_neither_does_an_error(far, penstock, as_json):
    far.answers["GET /keys"] = errors.NotFound("gone", field="x", value=EVIL, remedy="y")
    code, out, err = penstock("keys", "list", *(["--json"] if as_json else []))
    assert (code, out) == (4, "")
    assert is_harmless(err)
    assert "owned" in err


def test_a_complaint_escapes_all_but_its_lines(capsys):
    complain(errors.Invalid("two\nlines \x1b[2J"), as_json=False)
    assert capsys.readouterr().err == "penstock: two\nlines \\x1b[2J\n"


@pytest.mark.parametrize("words", [("requests", "tail"), ("status", "--live")])
def test_nor_does_a_live_view(far, words):
    far.answers["GET /requests/live"] = [[event("request", hostile(requests.RequestView)), HOLD]]
    far.answers["GET /overview/live"] = [[event("overview", hostile(requests.Overview)), HOLD]]
    with terminal(far.url, *words, columns=200, rows=50) as it:
        it.until(b"\\x1b]0;owned")
        it.press(b"\x03")
        assert it.end() == 0
        assert b"\x1b]" not in it.seen
        assert "\x9b".encode() not in it.seen
        assert "\u202e".encode() not in it.seen


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("\x1b[31m", "\\x1b[31m"), ("\x07", "\\x07"), ("\x9b2J", "\\x9b2J"), ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\u202e", "\\u202e"), ("\u200b", "\\u200b"), ("\u2028", "\\u2028"), ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"), ("\x7f", "\\x7f"),
    ],
)  # fmt: skip
def test_what_a_terminal_would_obey_is_escaped(text, told):
    assert shown(text) == told == line(text).plain


@pytest.mark.parametrize("text", ["", "search", "Zoë", "検索", "🚰", "a b", "[red]x[/red]", "\\x1b"])
def test_what_is_text_stays(text):
    assert shown(text) == text
