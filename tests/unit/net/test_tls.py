"""TLS on both sides, proxies in between, and errors that name the file."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from penstock.kernel.errors import Invalid
from penstock.net.client import CallFailed, Origin
from penstock.net.tls import client_context, server_context
from tests.support import run
from tests.unit.net.rig import PATIENT, Call, calling, ok, serving, upstream


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `cert.pem`, `key.pem` (for localhost and 127.0.0.1) and `other.pem`, a foreign key."""
    folder = tmp_path_factory.mktemp("pem")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    for file, secret in (("key.pem", key), ("other.pem", ec.generate_private_key(ec.SECP256R1()))):
        text = secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / file).write_bytes(text)
    locked = serialization.BestAvailableEncryption(b"secret")
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    (folder / "locked.pem").write_bytes(text)
    return folder


def test_requests_travel_over_tls_and_the_connection_is_reused(pem: Path) -> None:
    """Small and large bodies, both ways."""

    async def scene() -> None:
        context = client_context(ca_file=pem / "cert.pem")
        async with (
            serving(ssl=server_context(pem / "cert.pem", pem / "key.pem")) as server,
            calling(ssl_context=context) as client,
        ):
            origin = Origin("https", "127.0.0.1", server.port)
            for body in (b"hello", b"x" * 500_000, b"y"):
                response = await client.request(origin, b"POST", b"/x", b"", body, PATIENT)
                assert await response.read(1_000_000) == b"POST /x  " + body
            assert server.stats.accepted == 1

    run(scene())


def test_a_stranger_is_not_trusted(pem: Path) -> None:
    """Given a certificate of no known authority, or for another name, then nothing is sent."""

    async def scene() -> None:
        async with serving(ssl=server_context(pem / "cert.pem", pem / "key.pem")) as server:
            async with calling() as client:
                with pytest.raises(CallFailed) as caught:
                    await client.request(
                        Origin("https", "127.0.0.1", server.port), b"GET", b"/", b"", b"", PATIENT
                    )
                assert (caught.value.reason, caught.value.dispatched) == ("connect_failed", False)
            assert server.stats.requests == 0

    run(scene())


def test_old_tls_is_not_spoken(pem: Path) -> None:
    """1.2 is the least on both sides."""
    assert server_context(pem / "cert.pem", pem / "key.pem").minimum_version == ssl.TLSVersion.TLSv1_2
    assert client_context().minimum_version == ssl.TLSVersion.TLSv1_2
    assert client_context().verify_mode == ssl.CERT_REQUIRED
    assert client_context().check_hostname


@pytest.mark.parametrize(
    ("cert", "key", "named"),
    [
        ("none.pem", "key.pem", "none.pem"), ("cert.pem", "none.pem", "none.pem"),
        ("cert.pem", "other.pem", "other.pem"), ("key.pem", "key.pem", "key.pem"),
        ("cert.pem", "locked.pem", "locked.pem"),
    ],
)  # fmt: skip
def test_a_server_without_usable_files_says_which(pem: Path, cert: str, key: str, named: str) -> None:
    """Missing, mismatched, not a certificate, encrypted: the file is named and a remedy given, never a prompt."""
    with pytest.raises(Invalid) as caught:
        server_context(pem / cert, pem / key)
    assert named in str(caught.value)
    assert caught.value.remedy
    assert caught.value.field.startswith("tls.")


def test_authorities_that_cannot_be_loaded_are_named(pem: Path) -> None:
    """Missing, or no certificate inside."""
    for file in ("none.pem", "key.pem"):
        with pytest.raises(Invalid) as caught:
            client_context(ca_file=pem / file)
        assert file in str(caught.value)


def test_clients_can_be_asked_for_a_certificate(pem: Path) -> None:
    """With `client_ca_file`, a client without one does not get in."""

    async def scene() -> None:
        asking = server_context(pem / "cert.pem", pem / "key.pem", client_ca_file=pem / "cert.pem")
        bare = client_context(ca_file=pem / "cert.pem")
        known = client_context(ca_file=pem / "cert.pem")
        known.load_cert_chain(pem / "cert.pem", pem / "key.pem")
        async with serving(ssl=asking) as server:
            origin = Origin("https", "127.0.0.1", server.port)
            async with calling(ssl_context=known) as client:
                assert (await client.request(origin, b"GET", b"/", b"", b"", PATIENT)).status == 200
            async with calling(ssl_context=bare) as client:
                with pytest.raises(CallFailed):
                    await client.request(origin, b"GET", b"/", b"", b"", PATIENT)

    run(scene())


def test_an_http_proxy_is_given_absolute_targets_and_its_password() -> None:
    """For http origins; the Host stays the origin's."""
    seen: list[bytes] = []

    async def script(call: Call) -> None:
        seen.append(await call.request())
        call.send(ok(b"from the proxy"))

    async def scene() -> None:
        async with (
            upstream(script) as (up, _),
            calling(proxy=f"http://me:p%40ss@127.0.0.1:{up.port}") as client,
        ):
            response = await client.request(
                Origin("http", "api.example", 80), b"GET", b"/x", b"", b"", PATIENT
            )
            assert await response.read(100) == b"from the proxy"
        assert seen[0].startswith(b"GET http://api.example/x HTTP/1.1\r\nhost: api.example\r\n")
        assert b"proxy-authorization: Basic bWU6cEBzcw==\r\n" in seen[0]

    run(scene())


def test_a_tunnel_carries_tls_through_a_proxy(pem: Path) -> None:
    """CONNECT, then TLS with the origin itself; a proxy that refuses is a failed connection."""
    asked: list[bytes] = []

    async def scene() -> None:
        async with serving(ssl=server_context(pem / "cert.pem", pem / "key.pem")) as server:

            async def relay(call: Call) -> None:
                asked.append(await call.request())
                if call.number > 1:
                    call.send(b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n")
                    return
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                call.send(b"HTTP/1.1 200 Connected\r\n\r\n")

                async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                    while data := await source.read(65536):
                        sink.write(data)
                    sink.close()

                await asyncio.gather(pump(call.reader, writer), pump(reader, call.writer))

            context = client_context(ca_file=pem / "cert.pem")
            origin = Origin("https", "localhost", server.port)
            async with upstream(relay) as (up, _):
                proxy = f"http://127.0.0.1:{up.port}"
                async with calling(ssl_context=context, proxy=proxy) as client:
                    for _ in range(2):
                        response = await client.request(origin, b"POST", b"/x", b"", b"hello", PATIENT)
                        assert await response.read(100) == b"POST /x  hello"
                    assert up.connections == 1
                assert asked[0].startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % server.port)
                async with calling(ssl_context=context, proxy=proxy) as client:
                    with pytest.raises(CallFailed, match="407") as caught:
                        await client.request(origin, b"GET", b"/", b"", b"", PATIENT)
                    assert caught.value.dispatched is False
                    assert client.connections(origin) == (0, 0)

    run(scene())


@pytest.mark.parametrize("proxy", ["https://a:1", "socks5://a:1", "a:1", "http://"])
def test_other_proxies_are_refused(proxy: str) -> None:
    """By name of the setting."""

    async def scene() -> None:
        with pytest.raises(Invalid, match="proxy"):
            async with calling(proxy=proxy):
                pass

    run(scene())
