"""Options become exact values, and what cannot be is refused by the option's name."""

from __future__ import annotations

import pytest

from penstock.cli.config import hidden
from penstock.cli.limits import Limits, UserLimits
from penstock.cli.main import main
from penstock.cli.serve import with_port
from penstock.cli.server import read_key
from penstock.kernel.context import Cap, Rate
from penstock.kernel.errors import Forbidden, Invalid, Unauthenticated
from penstock.kernel.settings import Settings


def test_a_budget_is_exact_to_the_nano_dollar():
    limits = Limits(day="5", month="0.000000001", total="100.10", rpm=60, tpm=7, concurrency=2, window=True)
    assert [(cap.window, cap.limit_nanos) for cap in limits.caps()] == [
        ("day", 5_000_000_000), ("month", 1), ("total", 100_100_000_000),
    ]  # fmt: skip
    assert limits.rate() == Rate(requests_per_minute=60, tokens_per_minute=7, concurrency=2, window=True)


def test_what_is_not_given_is_not_limited_and_nothing_is_a_budget():
    assert (Limits().caps(), Limits().rate()) == ((), Rate())
    assert Limits(day="0").caps() == (Cap(window="day", limit_nanos=0),)


def test_a_soft_budget_is_soft_and_a_users_is_named_by_its_window():
    assert not Limits(day="1", soft=True).caps()[0].hard
    assert UserLimits(user_month="2").caps() == (Cap(window="month", limit_nanos=2_000_000_000),)


@pytest.mark.parametrize("text", ["five", "1.0000000001", "-1", "1e3", "1,50", " 1", "nan", "9" * 30])
def test_an_amount_that_is_none_is_refused_by_its_option(text):
    with pytest.raises(Invalid) as refusal:
        UserLimits(user_day=text).caps()
    assert (refusal.value.field, refusal.value.value) == ("--user-day", text)


def test_a_key_file_that_others_can_read_is_refused(tmp_path):
    file = tmp_path / "owner.key"
    file.write_text("pen-secret\n")
    for mode in (0o644, 0o640, 0o601):
        file.chmod(mode)
        with pytest.raises(Forbidden) as refusal:
            read_key(file)
        assert "chmod 600" in refusal.value.remedy
        assert "pen-secret" not in str(refusal.value)
    file.chmod(0o600)
    assert read_key(file) == "pen-secret"


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_key_file_that_is_none_says_how_to_give_one(tmp_path, content):
    file = tmp_path / "owner.key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(Unauthenticated, match="--key-file"):
        read_key(file)


@pytest.mark.parametrize(("port", "sound"), [(-1, False), (0, True), (65_535, True), (65_536, False)])
def test_a_port_is_taken_within_its_bounds(port, sound):
    if sound:
        assert with_port(Settings(), port).server.port == port
    else:
        with pytest.raises(Invalid):
            with_port(Settings(), port)
    assert with_port(Settings(), None) == Settings()


def test_a_password_inside_a_url_is_hidden_wherever_it_stands():
    values = {
        "a": ["redis://u:geheim@h:1/0"],
        "b": {"c": "postgresql://u:geheim@h/d?x=a@b"},
        "d": "x@y",
        "e": 1,
    }
    assert "geheim" not in str(hidden(values))
    assert hidden(values)["a"] == ["redis://***@h:1/0"]
    assert hidden(values)["d"] == "x@y"


def test_config_check_tells_every_mistake_at_once(tmp_path, capsys):
    file = tmp_path / "p.toml"
    file.write_text('[server]\nport = "x"\nprot = 1\n[sever]\na = 1\n')
    assert main(["config", "check", "--config", str(file)]) == 2
    told = capsys.readouterr().err
    assert all(path in told for path in ("server.port", "server.prot", "sever"))


def test_config_show_shows_the_environment_over_the_file(tmp_path, capsys, monkeypatch):
    file = tmp_path / "p.toml"
    file.write_text("[server]\nport = 9001\n")
    monkeypatch.setenv("PENSTOCK_SERVER_HOST", "::1")
    monkeypatch.setenv("PENSTOCK_LEDGER_URL", "postgresql://me:geheim@db/x")
    assert main(["config", "show", "--config", str(file)]) == 0
    told = capsys.readouterr().out
    assert "9001" in told
    assert "::1" in told
    assert "geheim" not in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["serve", "--workers", "0"], "At least one"),
        (["serve", "--workers", "2"], "cannot share embedded stores"),
        (["serve", "--fd", "1000"], "not a socket"),
        (["serve", "--config", "missing.toml"], "no such configuration file"),
        (["simulate", "--weights", "{"], "not JSON"),
        (["prices", "show", "gpt-4o"], "PROVIDER/MODEL"),
        (["ledger", "verify", "--offline"], "no ledger here"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_opened(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert main(words) in (2, 4)
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
