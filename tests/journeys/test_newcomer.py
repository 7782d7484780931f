"""A newcomer's first ten minutes: `penstock up` on a bare machine, the official SDK, and the commands that manage it.

Promise: with no account anywhere the printed key works at once with the real `openai` package, streamed or not; every
management command works from the same folder without an option; the books are whole before and after; a second start
finds the keys; nothing that was printed or logged but the one welcome holds a key.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import openai
import pytest

ROOT = Path(__file__).resolve().parents[2]
CEILING_S = 60
MODEL = "local/extractive"
QUESTION = [
    {
        "role": "user",
        "content": "The gate opens at nine. The mill is shut on Sunday. When does the gate open?",
    }
]


@dataclass
class Home:
    """A newcomer's folder, with a Penstock in it that is or is not running."""

    folder: Path
    url: str = ""
    token: str = ""
    welcome: str = ""
    process: subprocess.Popen[str] | None = None
    errors: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a bare machine: no vendor's key, nothing of ours."""
        kept = {
            name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")
        }
        return {**kept, "PYTHONPATH": str(ROOT / "src"), "PENSTOCK_DISCOVER": "false"} | (
            {"PENSTOCK_URL": self.url} if self.url else {}
        )

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "penstock.cli", *words]

    def up(self) -> str:
        """Start it on a free port and return its welcome, up to the last line."""
        self.url = ""
        self.process = subprocess.Popen(
            self.command("up", "--port", "0"),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        self.welcome = "".join(lines)
        found = re.search(r"serves on (\S+)", self.welcome)
        assert found, self.welcome + self.process.stderr.read()
        self.url = found[1]
        return self.welcome

    def down(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it; returns its exit code."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=CEILING_S)
        self.errors.append(out + err)
        code, self.process = self.process.returncode, None
        return code

    def run(self, *words: str, code: int = 0) -> str:
        """Run a command to its end, which must be `code`; returns what it printed."""
        done = subprocess.run(
            self.command(*words),
            check=False,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=CEILING_S,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def json(self, *words: str):
        return json.loads(self.run(*words, "--json"))

    def sdk(self, token: str = "") -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=token or self.token, max_retries=0, timeout=CEILING_S
        )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Give a folder in which Penstock was started for the first time."""
    home = Home(tmp_path_factory.mktemp("home"))
    home.up()
    home.token = re.search(r"first key +(pen-\S+)", home.welcome)[1]
    yield home
    if home.process is not None:
        home.process.kill()
        home.process.communicate()


def test_the_printed_key_answers_through_the_official_sdk(home):
    with home.sdk() as client:
        answer = client.chat.completions.create(model=MODEL, messages=QUESTION)
    assert "nine" in answer.choices[0].message.content
    assert "Sunday" not in answer.choices[0].message.content
    assert "not a language model" in answer.choices[0].message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def test_and_streamed(home):
    with home.sdk() as client:
        stream = client.chat.completions.create(
            model=MODEL, messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
    assert "nine" in "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert chunks[-1].usage.total_tokens > 0


def test_the_models_are_listed(home):
    with home.sdk() as client:
        assert sorted(model.id for model in client.models.list()) == ["local/all-MiniLM-L6-v2", MODEL]


def test_vectors_come_from_this_machine(home):
    with home.sdk() as client:
        made = client.embeddings.create(
            model="local/all-MiniLM-L6-v2", input=["the gate opens", "a sluice lifts"]
        )
    assert [len(each.embedding) for each in made.data] == [384, 384] and made.usage.prompt_tokens == 12


def test_the_printed_curl_works_as_it_stands(home):
    shown = re.search(r"  (curl .*?\}'\n)", home.welcome, re.DOTALL)[1]
    done = subprocess.run(
        ["bash", "-c", shown], check=True, capture_output=True, text=True, timeout=CEILING_S
    )
    assert "nine" in json.loads(done.stdout)["choices"][0]["message"]["content"], done.stderr


def test_what_is_kept_is_private(home):
    data = home.folder / "var"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "owner.key").stat().st_mode) == 0o600


def test_keys_are_made_listed_rotated_and_revoked_from_the_command_line(home):
    made = home.json(
        "keys", "create", "for the search team", "--team", "search", "--model", MODEL, "--rpm", "1000"
    )
    token, key_id = made["token"], made["key"]["id"]
    with home.sdk(token) as client:
        assert client.chat.completions.create(model=MODEL, messages=QUESTION).choices
    listed = {key["id"]: key for key in home.json("keys", "list")}
    assert listed[key_id]["team"] == "search"
    assert token not in home.run("keys", "list")
    rotated = home.json("keys", "rotate", key_id, "--overlap-s", "0")
    with home.sdk(token) as old, home.sdk(rotated["token"]) as new:
        with pytest.raises(openai.AuthenticationError):
            old.models.list()
        assert new.models.list().data
    home.run("keys", "revoke", rotated["key"]["id"])
    with home.sdk(rotated["token"]) as client, pytest.raises(openai.AuthenticationError):
        client.models.list()
    assert "no such key" in home.run("keys", "revoke", "nobody", code=4)


def test_a_teams_budget_is_set_listed_and_refuses(home):
    home.run("teams", "set", "team", "poor", "--day", "1.50", "--rpm", "1", "--user-day", "0.25")
    (scope,) = (s for s in home.json("teams", "list", "team") if s["path"].endswith("team:poor"))
    assert (scope["caps"][0]["limit_nanos"], scope["user_caps"][0]["limit_nanos"]) == (
        1_500_000_000,
        250_000_000,
    )
    (budget,) = (b for b in home.json("budgets", "list") if "team:poor@" in b["account"])
    assert (budget["limit_nanos"], budget["room_nanos"]) == (1_500_000_000, 1_500_000_000)
    token = home.json("keys", "create", "--team", "poor")["token"]
    with home.sdk(token) as client:
        client.chat.completions.create(model=MODEL, messages=QUESTION)
        with pytest.raises(openai.RateLimitError) as refusal:
            client.chat.completions.create(model=MODEL, messages=QUESTION)
    assert int(refusal.value.response.headers["retry-after"]) > 0
    assert "$1.50" in home.run("budgets", "list")


def test_usage_counts_every_request_once(home):
    (today,) = home.json("usage")
    teams = {row["name"]: row["requests"] for row in home.json("usage", "team")}
    assert teams["team:search"] == 1
    assert teams["team:poor"] == 1
    assert today["requests"] == sum(teams.values()) >= 5
    assert (today["posted_nanos"], today["held_nanos"]) == (0, 0)


def test_the_books_are_whole_online_and_offline(home):
    online, offline = home.json("ledger", "verify"), home.json("ledger", "verify", "--offline")
    assert online["whole"]
    assert offline["whole"]
    assert online["operations"] == offline["operations"] >= 5
    assert online["pending"] == 0


def test_prices_and_status_are_told(home):
    prices = home.json("prices", "list", "gpt-4o-mini", "--provider", "openai")
    assert any(price["model"] == "gpt-4o-mini" and price["input"] > 0 for price in prices)
    assert home.json("prices", "show", "openai/gpt-4o-mini")["output"] > 0
    status = home.json("status")
    assert all(status["dependencies"].values())
    assert status["providers"] == {"local": 2}
    assert status["audit_dropped"] == 0


def test_a_caller_manages_nothing(home):
    file = home.folder / "caller.key"
    file.touch(mode=0o600)
    file.write_text(home.token)
    for words in (["keys", "list"], ["usage"], ["status"], ["ledger", "verify"]):
        assert "role" in home.run(*words, "--key-file", str(file), code=3)


@pytest.mark.parametrize(
    "path", ["/api/v1/status", "/api/v1/keys", "/api/v1/openapi.json", "/metrics", "/v1/models"]
)
def test_a_stranger_sees_nothing_but_that_it_lives(home, path):
    connection = http.client.HTTPConnection(home.url.removeprefix("http://"), timeout=CEILING_S)
    for asked, status in ((path, 401), ("/healthz", 200), ("/readyz", 200)):
        connection.request("GET", asked)
        reply = connection.getresponse()
        reply.read()
        assert (asked, reply.status) == (asked, status)
    connection.close()


def test_the_doctor_finds_it_well_while_it_serves(home):
    found = home.json("doctor")
    assert [finding for finding in found if not finding["well"]] == []


def test_a_second_start_on_the_same_port_or_folder_says_why_not(home):
    port = home.url.rpartition(":")[2]
    assert "--port" in home.run("up", "--port", port, code=6)
    assert "Another process" in home.run("up", "--port", "0", code=7)


def test_after_ctrl_c_and_a_second_start_the_keys_still_work_and_the_books_are_whole(home):
    before = home.json("usage")
    assert home.down(signal.SIGINT) == 0
    assert "penstock up" in home.run("keys", "list", code=6)
    welcome = home.up()
    assert "made before" in welcome
    assert "pen-" not in welcome
    with home.sdk() as client:
        assert (
            "nine"
            in client.chat.completions.create(model=MODEL, messages=QUESTION).choices[0].message.content
        )
    assert home.json("ledger", "verify")["whole"]
    assert home.json("usage")[0]["requests"] == before[0]["requests"] + 1
    assert home.down() == 0


def test_nothing_but_the_welcome_ever_held_a_key(home):
    owner = (home.folder / "var" / "owner.key").read_text().strip()
    kept = [path for path in (home.folder / "var").rglob("*") if path.is_file() and path.name != "owner.key"]
    assert kept
    for text in home.errors:
        assert owner not in text
        assert home.token not in text
    for path in kept:
        data = path.read_bytes()
        assert owner.encode() not in data, path
        assert home.token.encode() not in data, path
