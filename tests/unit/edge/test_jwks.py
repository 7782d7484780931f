"""Keys of an issuer: which of them count, when they are fetched, and where documents may come from."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from joserfc.jwk import RSAKey

from penstock.edge.documents import DOCUMENT_BYTES, address, fetched, parsed, read, read_now
from penstock.edge.jwks import FRESH_S, KEYS_MOST, PAUSE_S, KeyRing, signature_keys
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Invalid, PenstockError, Upstream
from penstock.net.client import CallFailed, CallTimedOut, HttpClient
from tests.support import run
from tests.unit.edge.jwt_mint import ISSUER, documents, issuer_keys, jwk

KEYS = issuer_keys()


class Shelf:
    """Where a ring's keys come from."""

    def __init__(self, *keys: dict[str, str]) -> None:
        self.document: object = {"keys": list(keys)}
        self.error: Exception | None = None
        self.asked = 0
        self.clock = ManualClock()
        self.ring = KeyRing("https://issuer.test", self.load, self.clock)

    async def load(self) -> object:
        self.asked += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return self.document


def test_only_public_signature_keys_count() -> None:
    found = signature_keys(documents(KEYS)[ISSUER])
    assert [each.kid for each in found] == ["rsa", "ec", "ed", "p384", "bound", "twins", "twins"]


@pytest.mark.parametrize(("bits", "counts"), [(1_024, False), (2_047, False), (2_048, True)])
def test_an_rsa_key_has_2048_bits(bits: int, counts: bool) -> None:
    made = generate_private_key(public_exponent=65_537, key_size=bits)
    found = signature_keys({"keys": [jwk(made, "rsa"), jwk(KEYS.ec, "ec")]})
    assert len(found) == 1 + counts


def test_a_private_key_that_is_published_is_taken_for_its_public_half() -> None:
    private: Any = RSAKey.generate_key(2_048).as_dict(private=True)
    (key,) = signature_keys({"keys": [private]})
    assert not key.is_private


@pytest.mark.parametrize(
    "document",
    [
        None, [], "keys", {}, {"keys": None}, {"keys": {}}, {"keys": []}, {"keys": [None, 1, "k"]},
        {"keys": [{"kty": "RSA"}]}, {"keys": [{"kty": ["RSA"]}]},
        {"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}]},
        {"keys": [jwk(KEYS.rsa, "r")] * (KEYS_MOST + 1)}, {"keys": [jwk(KEYS.rsa, "r", use="enc")]},
    ],
)  # fmt: skip
def test_what_holds_no_such_key_is_refused(document: object) -> None:
    with pytest.raises(Upstream) as caught:
        signature_keys(document)
    assert caught.value.reason == "bad_jwks"


@pytest.mark.parametrize(
    ("kid", "algorithm", "is_there"),
    [
        ("rsa", "RS256", True), ("rsa", "PS512", True), ("rsa", "ES256", False), ("ec", "ES256", True),
        ("ec", "ES384", False), ("p384", "ES384", True), ("p384", "ES256", False), ("ed", "EdDSA", True),
        ("bound", "RS512", True), ("bound", "RS256", False), ("twins", "RS256", False), ("weak", "RS256", False),
        ("", "EdDSA", True), ("", "ES256", True), ("", "RS256", False), ("none", "RS256", False),
        ("notes", "RS256", False), ("x", "EdDSA", False),
    ],
)  # fmt: skip
def test_a_key_is_found_by_its_id_for_the_algorithms_it_is_for(
    kid: str, algorithm: str, is_there: bool
) -> None:
    notes: Any = {**jwk(KEYS.stranger, "notes"), "key_ops": ["encrypt"]}
    exchange = {**jwk(KEYS.ed, "x"), "crv": "X25519"}
    shelf = Shelf(*documents(KEYS)[ISSUER]["keys"], notes, exchange)
    run(shelf.ring.refresh())
    assert (shelf.ring.find(kid, algorithm) is not None) is is_there


def test_keys_are_fetched_once_for_all_who_wait_and_not_again_within_the_pause() -> None:
    shelf = Shelf(jwk(KEYS.rsa, "rsa"))

    async def case() -> None:
        await asyncio.gather(*(shelf.ring.refresh() for _ in range(50)))
        assert (shelf.asked, shelf.ring.generation) == (1, 1)
        shelf.clock.advance(PAUSE_S - 0.1)
        await shelf.ring.refresh()
        assert shelf.asked == 1
        shelf.clock.advance(0.1)
        await shelf.ring.refresh()
        assert (shelf.asked, shelf.ring.generation) == (2, 1)  # fetched, and the same

    run(case())


def test_keys_are_looked_after_when_they_are_old_and_a_change_is_a_new_generation() -> None:
    shelf = Shelf(jwk(KEYS.rsa, "rsa"))

    async def case() -> None:
        await shelf.ring.tick()
        shelf.clock.advance(FRESH_S - 0.1)
        await shelf.ring.tick()
        assert shelf.asked == 1
        shelf.document = {"keys": [jwk(KEYS.retired, "rsa")]}
        shelf.clock.advance(0.1)
        await shelf.ring.tick()
        assert (shelf.asked, shelf.ring.generation) == (2, 2)

    run(case())


@pytest.mark.parametrize(
    "error", [Upstream("down"), CallTimedOut("slow", code="x"), KeyError("a bug of a library")]
)
def test_a_failure_leaves_the_keys_is_counted_and_tried_again_after_the_pause(error: Exception) -> None:
    shelf = Shelf(jwk(KEYS.rsa, "rsa"))

    async def case() -> None:
        await shelf.ring.refresh()
        shelf.error = error
        for _ in range(3):
            shelf.clock.advance(FRESH_S)
            await shelf.ring.tick()
            await shelf.ring.tick()
        assert (shelf.ring.fetches, shelf.ring.failures, shelf.ring.generation) == (4, 3, 1)
        assert shelf.ring.find("rsa", "RS256") is not None

    run(case())


def test_closing_gives_up_what_is_being_fetched() -> None:
    async def case() -> None:
        never = asyncio.Event()

        async def load() -> object:
            await never.wait()
            raise AssertionError

        ring = KeyRing("x", load, ManualClock())
        waiting = asyncio.create_task(ring.refresh())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await ring.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await ring.close()

    run(case())


# --- documents -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("https://issuer.test/keys", "https://issuer.test", b"/keys"),
        ("https://issuer.test:8443/a/keys/?p=b&c=d", "https://issuer.test:8443", b"/a/keys/?p=b&c=d"),
        ("https://issuer.test", "https://issuer.test", b"/"),
        ("http://127.0.0.1:9/keys", "http://127.0.0.1:9", b"/keys"),
        ("http://localhost:9/keys", "http://localhost:9", b"/keys"),
        ("http://[::1]:9/keys", "http://[::1]:9", b"/keys"),
    ],
)
def test_a_document_is_at_an_address_of_https_or_of_this_machine(
    url: str, origin: str, target: bytes
) -> None:
    found, path = address(url)
    assert (str(found), path) == (origin, target)


@pytest.mark.parametrize(
    "url",
    [
        "", "keys.json", "http://issuer.test/keys", "http://localhost.evil.test/keys", "http://192.168.0.1/k",
        "http://127.0.0.1@evil.test/keys", "https://user:secret@issuer.test/keys", "ftp://127.0.0.1/keys",
        "file:///etc/passwd", "https://issuer.test/a b", "https://issuer.test/keys#a", "https:///keys",
        "https://issuer.test/k\u00e9ys", "https://issuer.test/?a=b c", "http://169.254.169.254/latest",
    ],
)  # fmt: skip
def test_no_document_is_anywhere_else(url: str) -> None:
    with pytest.raises(Invalid):
        address(url)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_an_error_of_the_issuer(text: bytes) -> None:
    with pytest.raises(Upstream):
        parsed(text)


def test_a_file_is_read_within_a_bound(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(b'"' + b"a" * (DOCUMENT_BYTES - 2) + b'"')
    assert run(read(str(file))) == "a" * (DOCUMENT_BYTES - 2)
    file.write_bytes(b'"' + b"a" * (DOCUMENT_BYTES - 1) + b'"')
    for path in (file, tmp_path / "none", tmp_path, "a\0b"):
        with pytest.raises(Upstream):
            read_now(str(path))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b'200 OK\r\ncontent-length: 11\r\n\r\n{"keys":[]}', {"keys": []}),
        (b"404 Not Found\r\ncontent-length: 2\r\n\r\n{}", Upstream),
        (b"302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n", Upstream),
        (b"200 OK\r\ncontent-length: 5\r\n\r\n<htm>", Upstream),
        (b"200 OK\r\ncontent-length: 300000\r\n\r\n", CallFailed),
        (b"200 OK\r\ncontent-length: 11\r\nconnection: close\r\n\r\n{", CallFailed),
        (b"nonsense\r\n\r\n", CallFailed),
    ],
)
def test_a_document_is_fetched_whole_or_not_at_all(reply: bytes, expected: Any) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 " + reply)
        writer.close()

    async def case() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        client = HttpClient()
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys?a=b"
        try:
            if isinstance(expected, type):
                with pytest.raises(expected) as caught:
                    await fetched(client, url)
                assert isinstance(caught.value, PenstockError)
            else:
                assert await fetched(client, url) == expected
        finally:
            await client.close()
            server.close()
        assert [each.split(b"\r\n")[0] for each in asked] == [b"GET /keys?a=b HTTP/1.1"]

    run(case())
