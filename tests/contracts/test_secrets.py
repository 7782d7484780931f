"""The embedded secrets keep every promise of their port, from files and from the environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.adapters.secrets.embedded import PREFIX, FileSecrets
from penstock.contracts.secrets import CASES, SecretsHarness
from penstock.kernel.errors import Forbidden, NotFound
from penstock.ports import secrets as port
from tests.contracts.file_harness import Life, bind, promises_checked, promises_of
from tests.contracts.not_tried import tried
from tests.support import run


async def opened(folder: Path, clock) -> FileSecrets:
    return FileSecrets(folder, {PREFIX + "UNRELATED": "x"})


async def on_file_secrets(case: Callable, folder: Path) -> None:
    """Run one case on fresh secrets in `folder`."""
    life = Life(folder, opened)

    def plant(name: str, data: bytes, mode: int) -> None:
        path = life.folder / name
        path.unlink(missing_ok=True)
        path.touch(0o600)
        path.write_bytes(data)
        path.chmod(mode)

    def beside(name: str, data: bytes) -> None:
        path = life.folder.parent / name
        path.write_bytes(data)
        path.chmod(0o600)

    harness = SecretsHarness(
        port=await life.start(),
        advance=life.advance,
        reopen=life.crash,
        peer=life.peer,
        plant=plant,
        modes=True,
        beside=beside,
    )
    await case(bind(harness, life))


@pytest.mark.parametrize(
    "case", [case for _, _, case in CASES.cases], ids=[name for name, _, _ in CASES.cases]
)
def test_embedded(case, tmp_path):
    run(tried("secrets/embedded", case, on_file_secrets(case, tmp_path)))


def test_every_promise_has_a_case():
    assert promises_checked(CASES) == promises_of(port)


def test_the_environment_is_a_snapshot_behind_the_files(tmp_path):
    environment = {PREFIX + "OPENAI_API_KEY": "from env", "OPENAI_API_KEY": "not ours"}
    secrets = FileSecrets(tmp_path, environment)
    environment[PREFIX + "LATE"] = "late"

    async def story():
        assert (await secrets.read("openai-api-key")).reveal() == "from env"
        assert (await secrets.read("openai.api_key")).reveal() == "from env"
        for name in ("late", "unknown"):
            with pytest.raises(NotFound):
                await secrets.read(name)
        (tmp_path / "openai-api-key").write_text("from file\n")
        (tmp_path / "openai-api-key").chmod(0o644)
        with pytest.raises(Forbidden):
            await secrets.read("openai-api-key")
        (tmp_path / "openai-api-key").chmod(0o400)
        assert (await secrets.read("openai-api-key")).reveal() == "from file"

    run(story())
    assert "from env" not in repr(vars(secrets))


def test_without_a_folder_there_is_the_environment_only():
    secrets = FileSecrets(None, {PREFIX + "KEY": "text"})
    assert run(secrets.read("key")).reveal() == "text"
    assert run(secrets.healthy())


def test_what_is_not_a_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    secrets = FileSecrets(tmp_path, {})
    for name in ("pipe", "folder"):
        with pytest.raises(Forbidden):
            run(secrets.read(name))


def test_a_link_is_judged_by_the_file_behind_it(tmp_path):
    (tmp_path / "data").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    secrets = FileSecrets(tmp_path, {})
    (tmp_path / "data").chmod(0o644)
    with pytest.raises(Forbidden):
        run(secrets.read("link"))
    (tmp_path / "data").chmod(0o400)
    assert run(secrets.read("link")).reveal() == "text"


def test_a_foreign_owner_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "key"
    path.write_text("text")
    path.chmod(0o600)
    secrets = FileSecrets(tmp_path, {})
    honest = FileSecrets._check

    def foreign(self, path, facts):
        fields = list(facts)
        fields[4] = 4_000_000
        honest(self, path, type(facts)(fields))

    monkeypatch.setattr(FileSecrets, "_check", foreign)
    with pytest.raises(Forbidden, match="4000000"):
        run(secrets.read("key"))
