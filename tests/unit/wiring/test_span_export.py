"""What stands in `otel` becomes a feed to a collector; a mistake there is told at start and shows no secret."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack

import msgspec
import pytest

from penstock.kernel.errors import Invalid, NotFound
from penstock.kernel.events import RequestEvent
from penstock.kernel.settings import OtelSettings, ProviderSettings, Settings
from penstock.mechanisms.spans import BackEnd
from penstock.ports.secrets import Secret
from penstock.wiring import adapters
from penstock.wiring.doctor import examine
from penstock.wiring.span_export import back_ends, headers_of, open_span_feed
from tests.collector import Collector, attributes
from tests.support import run


class Kept:
    """Secrets in memory."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = secrets

    async def read(self, name: str) -> Secret:
        if name not in self._secrets:
            raise NotFound("There is no such secret.", field=name)
        return Secret(self._secrets[name])


async def fed(settings: OtelSettings, secrets: Mapping[str, str], *events: RequestEvent) -> None:
    """Feed events as the platform would, and let everything go."""
    async with AsyncExitStack() as opening:
        providers = (
            ProviderSettings(name="mine", kind="openai", vendor="azure", base_url="https://eu.example/v1"),
        )
        feed = await open_span_feed(settings, providers, Kept(secrets), opening)
        assert feed is not None
        feed(events)
    assert feed.produced == feed.delivered + feed.dropped == len(events)


def event(number: int = 1) -> RequestEvent:
    return RequestEvent(
        request_id=f"req_{number}", at_s=1_800_000_000.0, provider="mine", model_used="big", latency_ms=9.0
    )


def test_without_a_collector_nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "adapter", lambda *_: pytest.fail("no driver is needed"))

    async def story() -> None:
        async with AsyncExitStack() as opening:
            assert await open_span_feed(OtelSettings(), (), Kept({}), opening) is None

    run(story())


def test_the_settings_reach_the_collector() -> None:
    with Collector() as collector:
        settings = OtelSettings(
            endpoint=collector.url, headers_secret="otel", names="1.36", service_name="gateway"
        )
        run(fed(settings, {"otel": "Authorization=Basic%20c2VjcmV0,x-scope=a"}, event()))
        (resource,) = collector.resources()
        told = attributes(resource.resource.attributes)
        assert told["service.name"] == "gateway"
        assert {"service.version", "service.instance.id"} <= told.keys()
        assert resource.schema_url == "https://opentelemetry.io/schemas/1.36.0"
        assert collector.headers[0]["authorization"] == "Basic c2VjcmV0"
        root, call = collector.spans()
        assert root.kind == "server"
        assert call.attributes["gen_ai.system"] == "azure.ai.openai"
        assert (call.attributes["server.address"], call.attributes["server.port"]) == ("eu.example", 443)


def test_each_provider_has_its_vendor_and_its_server() -> None:
    named = ProviderSettings(name="openai", kind="openai", base_url="http://127.0.0.1:8000/v1")
    assert back_ends((named, ProviderSettings(name="local", kind="local"))) == {
        "openai": BackEnd("openai", "127.0.0.1", 8000),
        "local": BackEnd("local"),
    }


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("", {}),
        ("a=b", {"a": "b"}),
        (" A = b%20c , D=e%2Cf,\n", {"a": "b c", "d": "e,f"}),
        ("authorization=Basic eDp5==", {"authorization": "Basic eDp5=="}),
        ("a=", {"a": ""}),
    ],
)
def test_headers_are_written_as_vendors_show_them(text: str, headers: dict[str, str]) -> None:
    assert headers_of(text) == headers


@pytest.mark.parametrize("text", ["c2VjcmV0", "a=b,c2VjcmV0", "=c2VjcmV0"])
def test_headers_in_another_form_are_refused_and_not_shown(text: str) -> None:
    with pytest.raises(Invalid, match="name=value") as raised:
        headers_of(text)
    assert "c2VjcmV0" not in str(raised.value)


def test_a_secret_that_is_not_there_is_told_at_start() -> None:
    with pytest.raises(NotFound, match="missing"):
        run(fed(OtelSettings(endpoint="http://127.0.0.1:1", headers_secret="missing"), {}))


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        each for each in sys.modules if each.startswith(("opentelemetry", "penstock.adapters.spans"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(Invalid, match=r"penstock\[otel\]"):
        run(fed(OtelSettings(endpoint="http://127.0.0.1:1"), {}))


@pytest.mark.parametrize(("order", "well"), [("", True), ("401", False), ("cut", False)])
def test_the_doctor_says_whether_the_collector_takes_traces(
    order: str, well: bool, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("penstock.wiring.doctor.suites", lambda *_: [])
    settings = msgspec.convert({"store": {"data": str(tmp_path / "data")}, "discover": False}, Settings)

    async def story() -> None:
        with Collector() as collector:
            collector.always = order
            to_it = msgspec.structs.replace(settings, otel=OtelSettings(endpoint=collector.url))
            found = {each.what: each async for each in examine(to_it, {})}
            assert found["collector"].well is well
            assert not collector.spans(), "nothing is left in anybody's figures"
        assert "collector" not in {each.what async for each in examine(settings, {})}

    run(story())
