"""An operator's server: settings in a file, an admin key from the environment, a provider that costs money.

Promise: what the provider billed is what `penstock usage` tells, to the nano-dollar; a budget refuses before the vendor
is called; the books are whole after kill -9, and nothing was billed twice.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pytest

from penstock.wiring.owner import mint

ROOT = Path(__file__).resolve().parents[2]
CEILING_S = 60
ASK = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "How much water?"}], "max_tokens": 64}
SETTINGS = """
discover = false
[server]
port = 0
[audit]
log_level = "INFO"
request_log = true
[[providers]]
name = "vendor"
kind = "openai"
vendor = "openai"
base_url = "{url}"
secret = "vendor-key"
models = ["gpt-4o-mini"]
[[routes]]
model = "fast"
targets = [{{ provider = "vendor", model = "gpt-4o-mini" }}]
"""


class Site:
    """A folder with settings, a simulated vendor, and a server that is or is not running."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.admin = mint()
        self.log = folder / "log"
        self.vendor = self.start("simulate")
        self.vendor_url = json.loads(self.vendor.stdout.readline())["url"]
        (folder / "penstock.toml").write_text(SETTINGS.format(url=self.vendor_url))
        self.server: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self, *words: str) -> subprocess.Popen[str]:
        kept = {
            name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")
        }
        env = kept | {
            "PYTHONPATH": str(ROOT / "src"),
            "PENSTOCK_ADMIN_KEY": self.admin,
            "PENSTOCK_KEY": self.admin,
        }
        env["PENSTOCK_SECRET_VENDOR_KEY"] = "sk-vendor-canary-1234567890"
        with self.log.open("a") as log:
            command = [sys.executable, "-m", "penstock.cli", *words]
            return subprocess.Popen(
                command, cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def serve(self) -> None:
        """Start the server on a port that is free, and wait until it is ready."""
        if not self.port:
            self.port = free_port()
        self.server = self.start("serve", "--port", str(self.port))
        while self.server.poll() is None and get(self.port, "/readyz")[0] != 200:
            time.sleep(0.02)
        assert self.server.poll() is None, self.log.read_text()

    def run(self, *words: str):
        """Run a management command and return what it tells as JSON."""
        asked = self.start(*words, "--json", "--url", f"http://127.0.0.1:{self.port}")
        out, _ = asked.communicate(timeout=CEILING_S)
        assert asked.returncode == 0, self.log.read_text()[-2000:]
        return json.loads(out)

    def sdk(self, token: str = "") -> openai.OpenAI:
        url = f"http://127.0.0.1:{self.port}/v1"
        return openai.OpenAI(base_url=url, api_key=token or self.admin, max_retries=0, timeout=CEILING_S)

    def billed(self) -> dict[str, int]:
        """Return the vendor's own truth."""
        return json.loads(get(urlsplit(self.vendor_url).port, "/truth/summary")[1])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def get(port: int, path: str) -> tuple[int, bytes]:
    """Return status and body; status 0 when nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CEILING_S)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read()
    except ConnectionError:
        return 0, b""
    finally:
        connection.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.serve()
    yield site
    for process in (site.server, site.vendor):
        process.terminate()
        process.communicate(timeout=CEILING_S)


def test_what_was_billed_is_what_usage_tells_to_the_nano_dollar(site):
    with site.sdk() as client:
        for stream in (False, True, False):
            answer = client.chat.completions.create(**ASK, stream=stream)
            if stream:
                list(answer)
    (today,) = site.run("usage")
    assert today["posted_nanos"] == site.billed()["cost_nanos"] > 0
    assert (today["requests"], today["held_nanos"]) == (3, 0)


def test_a_route_of_ones_own_leads_to_the_provider(site):
    with site.sdk() as client:
        assert client.chat.completions.create(**ASK | {"model": "fast"}).choices


def test_a_budget_refuses_before_the_vendor_is_called(site):
    site.run("teams", "set", "team", "broke", "--day", "0.000001")
    token = site.run("keys", "create", "--team", "broke")["token"]
    calls = site.billed()["requests"]
    with site.sdk(token) as client, pytest.raises(openai.RateLimitError) as refusal:
        client.chat.completions.create(**ASK)
    assert refusal.value.code == "insufficient_quota"
    assert site.billed()["requests"] == calls
    (budget,) = (b for b in site.run("budgets", "list") if "team:broke" in b["account"])
    assert (budget["posted_nanos"], budget["held_nanos"]) == (0, 0)


def test_after_kill_9_the_same_key_works_and_the_books_are_whole(site):
    before = site.run("usage")
    site.server.send_signal(signal.SIGKILL)
    site.server.communicate(timeout=CEILING_S)
    site.serve()
    assert site.run("usage") == before
    report = site.run("ledger", "verify")
    assert (report["whole"], report["pending"]) == (True, 0)
    assert report["posted_nanos"] == site.billed()["cost_nanos"]


def test_the_log_tells_each_request_and_no_key_secret_or_prompt(site):
    site.server.terminate()
    site.server.communicate(timeout=CEILING_S)
    text = site.log.read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert sum(line["logger"] == "penstock.request" for line in lines) >= 4
    for secret in (site.admin, site.admin[17:], "vendor-canary", "How much water"):
        assert secret not in text
    site.serve()
