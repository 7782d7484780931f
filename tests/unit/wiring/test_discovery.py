"""Providers found by themselves: what listens here, and vendors whose key is here; nothing twice, nothing abroad."""

from __future__ import annotations

import asyncio
import socket

import pytest

from penstock.kernel.settings import Settings
from penstock.wiring import adapters, discovery
from penstock.wiring.discovery import VENDORS, discover
from tests.support import run


@pytest.fixture(autouse=True)
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the usual ports to ones where nobody listens."""
    monkeypatch.setattr(discovery, "LOCAL_SERVERS", (("ollama", closed_port()), ("vllm", closed_port())))


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def names(env: dict[str, str], known: tuple[str, ...] = ()) -> list[str]:
    return [each.name for each in run(discover(env, known))]


def test_on_a_bare_machine_nothing_is_found():
    assert names({}) == []


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_a_vendor_is_found_by_its_key_and_the_key_stays_where_it_was(vendor):
    env = {vendor.variable: "sk-geheim"}
    (found,) = run(discover(env, ()))
    assert (found.name, found.kind, found.billed_by, found.free) == (
        vendor.name, vendor.kind, vendor.name, False,
    )  # fmt: skip
    assert run(adapters.secrets(Settings(), env).read(found.secret)).reveal() == "sk-geheim"
    assert found.base_url.startswith("https://")
    assert "geheim" not in repr(found)


def test_an_empty_key_is_none():
    assert names({"OPENAI_API_KEY": ""}) == []


def test_what_the_configuration_names_is_not_found_again():
    env = {"OPENAI_API_KEY": "x", "GROQ_API_KEY": "y"}
    assert names(env, ("openai",)) == ["groq"]


@pytest.mark.parametrize(
    "vendor", [each for each in VENDORS if each.address_variable], ids=lambda vendor: vendor.name
)
@pytest.mark.parametrize(("address", "found"), [("http://127.0.0.1:1/x", "http://127.0.0.1:1/x"), ("", None)])
def test_the_address_variable_of_a_vendors_own_sdk_is_honoured(vendor, address, found):
    env = {vendor.variable: "x", vendor.address_variable: address}
    assert run(discover(env, ()))[0].base_url == (found or vendor.base_url)


def test_a_server_that_listens_here_is_found_free_and_on_loopback(monkeypatch):
    async def look():
        server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setattr(discovery, "LOCAL_SERVERS", (("ollama", port), ("vllm", closed_port())))
        async with server:
            return await discover({}, ()), await discover({}, ("ollama",)), port

    found, known, port = run(look())
    assert [(f.name, f.base_url, f.free) for f in found] == [("ollama", f"http://127.0.0.1:{port}/v1", True)]
    assert known == ()
