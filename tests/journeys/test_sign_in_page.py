"""docs/how-to/sign-in.md tells the truth: its settings load and are safe, its token is believed, its example runs."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

from penstock.edge.claims import machine
from penstock.kernel.settings import Settings
from penstock.mechanisms.roles import ALLOWED, Action, Role
from penstock.mechanisms.tenancy import KeyDoc
from penstock.wiring import safety
from penstock.wiring.settings import load
from tests.stage import stage
from tests.support import run

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "how-to" / "sign-in.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the page's blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def shown(folder: Path) -> Settings:
    """Return the settings that the page shows, together."""
    file = folder / "penstock.toml"
    file.write_text("\n".join(blocks("toml")))
    return load(file, {})


def test_its_settings_are_read_and_start(tmp_path: Path) -> None:
    settings = shown(tmp_path)
    safety.check(settings, workers=1, admin_key="")
    assert [each.issuer for each in settings.auth.issuers] == ["https://login.example.org"]
    assert settings.auth.console_urls == ("https://penstock.example",)


def test_its_environment_says_the_same() -> None:
    (value,) = re.findall(r"`PENSTOCK_AUTH_ISSUERS='(.*?)'`", TEXT)
    env = {"PENSTOCK_AUTH_ISSUERS": value.replace('jwks_url = "…"', 'jwks_url = "https://a.test/k"')}
    assert [each.jwks_url for each in load(None, env).auth.issuers] == ["https://a.test/k"]


def test_its_token_is_whom_it_says(tmp_path: Path) -> None:
    (claims,) = [json.loads(block) for block in blocks("json")]
    issuer = shown(tmp_path).auth.issuers[0]
    who = machine(claims, issuer)
    assert (who.org, who.team, who.user, who.role) == ("acme", "search", "indexer", "caller")
    assert who.models == ("gpt-4o-mini",)
    assert claims["exp"] - claims["iat"] <= issuer.max_lifetime_s


def test_its_table_of_roles_is_the_codes() -> None:
    rows = dict(re.findall(r"^\| ([a-z-]+) \| [^|]+ \| ([^|]+) \|$", TEXT, re.MULTILINE))
    assert set(rows) == {str(role) for role in Role} - {"caller"} | {"role"}
    for role in set(rows) - {"role", "owner", "admin"}:
        assert ("use models" in rows[role]) == (Role(role) in ALLOWED[Action.USE_MODELS]), role
        assert ("with their content" in rows[role]) == (Role(role) in ALLOWED[Action.READ_PAYLOADS]), role
        assert ("people" in rows[role]) == (Role(role) in ALLOWED[Action.READ_PEOPLE]), role
        assert ("every change" in rows[role]) == (Role(role) in ALLOWED[Action.READ_CHANGES]), role


def test_its_example_runs_as_it_stands(tmp_path: Path) -> None:
    (code,) = blocks("python")

    async def execute() -> str:
        async with stage(tmp_path) as it:
            owner = KeyDoc(id="", mac="", org="acme", team="ops", project="ops", user="kim", role="owner")
            _, token = await it.platform.tenancy.create_key(owner)
            filled = code.replace("http://127.0.0.1:8700", it.url.removesuffix("/v1")).replace("pen-…", token)
            program = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "error", "-c", filled),
                env={"PYTHONPATH": str(ROOT / "src")},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, complaints = await program.communicate()
            assert (program.returncode, complaints.decode()) == (0, "")
            return out.decode()

    said = run(execute())
    assert re.search(r"^for Dan, once: /console/link\?token=penl-per_\S+$", said, re.MULTILINE)
    assert "dan@acme.test developer invited" in said
