"""A vendor's key is rotated by writing its secret anew: no restart, and no call under a key that is gone."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock.adapters.secrets.embedded import FileSecrets
from penstock.kernel.clock import ManualClock
from penstock.kernel.settings import ProviderSettings, Settings
from penstock.net.server import Server
from penstock.ports.providers import ProviderFailure
from penstock.wiring.catalogue import Catalogue, price_book
from penstock.wiring.upstream_keys import READ_S
from tests.support import run
from tests.unit.adapters.providers.vendors import JSON, Vendor, whole

OK = b'{"choices":[{"finish_reason":"stop"}]}'
FIRST, SECOND, OTHER = "vk-first-4711-secret", "vk-second-4711-secret", "ok-other-4711-secret"


def write(folder: Path, name: str, text: str, mode: int = 0o600) -> None:
    """Write a secret anew, as whoever rotates it does: beside, then over the old one."""
    fresh = folder / f".{name}"
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.rename(folder / name)


@asynccontextmanager
async def catalogued(
    folder: Path, vendor: Vendor, *secrets: str
) -> AsyncIterator[tuple[Catalogue, ManualClock]]:
    """Open a catalogue over one provider that calls `vendor` under `secrets`."""
    server = Server(
        vendor.handle,
        allowed_hosts=None,
        cors=None,
        error_renderer=lambda error, path: (error.status, JSON, b"{}"),
    )
    await server.start("127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.port}/v1"
    provider = ProviderSettings(
        name="mill", kind="openai", base_url=address, models=("m",), free=True, secrets=secrets
    )
    clock = ManualClock()
    catalogue = Catalogue(Settings(providers=(provider,)), price_book(Settings(), (provider,)), clock)
    await catalogue.open((provider,), FileSecrets(folder, {}))
    try:
        yield catalogue, clock
    finally:
        await catalogue.close()
        await server.close()


async def later(catalogue: Catalogue, clock: ManualClock) -> None:
    """Let the time come to read secrets, and have them read."""
    clock.advance(READ_S)
    await catalogue.tick()
    (reading,) = [task for task in asyncio.all_tasks() if task.get_name() == "upstream keys"]
    await reading


async def chat(catalogue: Catalogue) -> None:
    """Have the provider answer once."""
    await whole(catalogue.providers()["mill"].provider)


def keys(vendor: Vendor) -> list[str]:
    """Return the keys that the vendor was called under, in order."""
    return [
        (request.header(b"authorization") or b"").decode().removeprefix("Bearer ")
        for request in vendor.requests
    ]


def test_a_rotated_key_is_called_under_without_a_restart(tmp_path: Path) -> None:
    """Given a provider with one key, when its secret is written anew, then the next calls are under the new one."""
    vendor = Vendor((200, JSON, OK))
    write(tmp_path, "mill-key", FIRST)

    async def case() -> None:
        async with catalogued(tmp_path, vendor, "mill-key") as (catalogue, clock):
            await chat(catalogue)
            write(tmp_path, "mill-key", SECOND)
            await later(catalogue, clock)
            await chat(catalogue)

    run(case())
    assert keys(vendor) == [FIRST, SECOND]


@pytest.mark.parametrize("secrets", [("one",), ("one", "two")])
def test_whoever_pools_keys_is_told_to_read_the_contract(
    secrets: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def case() -> None:
        for secret in secrets:
            write(tmp_path, secret, FIRST)
        async with catalogued(tmp_path, Vendor((200, JSON, OK)), *secrets):
            pass

    with caplog.at_level(logging.WARNING):
        run(case())
    told = [record.getMessage() for record in caplog.records if "contract" in record.getMessage()]
    assert len(told) == len(secrets) - 1
    assert all(each.startswith("provider mill calls under 2 keys: ") for each in told)


def test_of_several_keys_the_one_that_was_rotated_changes(tmp_path: Path) -> None:
    vendor = Vendor((200, JSON, OK))
    write(tmp_path, "one", FIRST)
    write(tmp_path, "two", OTHER)

    async def case() -> None:
        async with catalogued(tmp_path, vendor, "one", "two") as (catalogue, clock):
            await chat(catalogue)
            await chat(catalogue)
            write(tmp_path, "one", SECOND)
            await later(catalogue, clock)
            await chat(catalogue)
            await chat(catalogue)

    run(case())
    assert keys(vendor) == [FIRST, OTHER, SECOND, OTHER]


@pytest.mark.parametrize("harm", ["gone", "open to others", "no key"])
def test_a_secret_that_cannot_be_used_leaves_the_key_that_works_and_is_told_once(
    harm: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vendor = Vendor((200, JSON, OK))
    write(tmp_path, "mill-key", FIRST)

    def harmed() -> None:
        if harm == "gone":
            (tmp_path / "mill-key").unlink()
        else:
            write(tmp_path, "mill-key", f"{SECOND}\r\nx: y", 0o600 if harm == "no key" else 0o644)

    async def case() -> None:
        async with catalogued(tmp_path, vendor, "mill-key") as (catalogue, clock):
            await later(catalogue, clock)
            harmed()
            await later(catalogue, clock)
            await later(catalogue, clock)
            await chat(catalogue)
            write(tmp_path, "mill-key", SECOND)
            await later(catalogue, clock)
            await chat(catalogue)

    with caplog.at_level(logging.WARNING):
        run(case())
    assert keys(vendor) == [FIRST, SECOND]
    (warning,) = [record.getMessage() for record in caplog.records if "keeps its key" in record.getMessage()]
    assert warning.startswith("provider mill keeps its key: secret mill-key cannot be used: ")
    assert "4711" not in caplog.text


def test_a_disk_that_fails_keeps_no_other_key_from_being_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a secret whose file opens and cannot be read, then the one after it is followed all the same."""
    vendor = Vendor((200, JSON, OK))
    write(tmp_path, "one", FIRST)
    write(tmp_path, "two", OTHER)
    failed = (tmp_path / "one").stat().st_ino
    read = os.read

    def failing(file: int, size: int) -> bytes:
        if os.fstat(file).st_ino == failed:
            raise OSError(errno.EIO, "Input/output error")
        return read(file, size)

    async def case() -> None:
        async with catalogued(tmp_path, vendor, "one", "two") as (catalogue, clock):
            write(tmp_path, "two", SECOND)
            monkeypatch.setattr(os, "read", failing)
            await later(catalogue, clock)
            monkeypatch.undo()
            await chat(catalogue)
            await chat(catalogue)

    with caplog.at_level(logging.WARNING):
        run(case())
    assert keys(vendor) == [FIRST, SECOND]
    assert "secret one cannot be used: [Errno 5] Input/output error" in caplog.text


def test_the_key_before_is_told_by_no_error_either(tmp_path: Path) -> None:
    """Given a vendor that answers late and tells the key of the call back, then neither key is in the failure."""
    told = b'{"error":{"message":"Incorrect API key provided: %b and %b"}}' % (
        FIRST.encode(),
        SECOND.encode(),
    )
    vendor = Vendor((401, JSON, told))
    write(tmp_path, "mill-key", FIRST)
    failures: list[ProviderFailure] = []

    async def case() -> None:
        async with catalogued(tmp_path, vendor, "mill-key") as (catalogue, clock):
            write(tmp_path, "mill-key", SECOND)
            await later(catalogue, clock)
            with pytest.raises(ProviderFailure) as caught:
                await chat(catalogue)
            failures.append(caught.value)

    run(case())
    assert failures[0].kind == "unauthenticated"
    assert "4711" not in f"{failures[0]}{failures[0].body!r}"
