"""docs/how-to/traces.md tells the truth: its settings start a platform, its names are those that are sent.

Promise: only the collector's address is put in; a span, an attribute or a metric that the page lacks, or that does not
exist, fails here.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from penstock.kernel.events import Call, RequestEvent
from penstock.mechanisms.spans import BackEnd, spans_of
from penstock.wiring.app import start
from penstock.wiring.settings import load
from tests.collector import Collector
from tests.support import run

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "traces.md").read_text()
(SETTINGS,) = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
(SECRET,) = re.findall(r"export (PENSTOCK_SECRET_\w+)='(.*)'", PAGE)
RICH = RequestEvent(
    request_id="req_1", at_s=1_800_000_000.0, org="o", team="t", project="p", user="u", key_id="k", feature="f",
    face="openai", model="fast", provider="sim", model_used="gpt-4o", route="r", stream=True, input_tokens=9,
    cached_tokens=5, output_tokens=4, reasoning_tokens=3, cost_nanos=2, price_version="v", estimated=True,
    routed_ms=1.0, admitted_ms=2.0, first_token_ms=50.0, latency_ms=90.0, cache="stale", finish="stop",
    temperature=0.5, max_tokens=9,
    calls=(Call("dear", "big", 2.0, 3.0, "overloaded"), Call("sim", "gpt-4o", 4.0, 90.0, "ok", 2, 9, 4)), attempts=2,
    tools_called=1, flags=("pii",),
)  # fmt: skip
FAILED = msgspec.structs.replace(RICH, status=502, error="upstream_error")


def drawn() -> dict[str, set[str]]:
    """Return the attributes of the root, the calls and the relay of a request that has every one."""
    back_ends = {"sim": BackEnd("openai", "api.example", 443)}
    spans = [each for event in (RICH, FAILED) for each in spans_of(event, back_ends=back_ends)]
    return {
        "On the whole request": {name for each in spans if each.kind == "server" for name in each.attributes},
        "On each call": {name for each in spans if each.kind == "client" for name in each.attributes},
        "On the relay": {name for each in spans if each.name == "relay" for name in each.attributes},
    }


def test_every_attribute_is_on_the_page_and_no_other() -> None:
    for words, names in drawn().items():
        (told,) = re.findall(rf"^{words}[^:]*:\s(.*?)\.\n\n", PAGE, re.MULTILINE | re.DOTALL)
        assert set(re.findall(r"`([^`]+)`", told)) == names, words


def test_every_span_is_on_the_page() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (\w+) \|", PAGE, re.MULTILINE)
    names = {(re.sub(r"^chat .*", "chat {model}", each.name), each.kind) for each in spans_of(RICH)}
    assert set(rows) == names
    assert len(rows) == len(names)


def test_the_settings_start_a_platform_that_sends_there_and_counts_as_told(tmp_path: Path) -> None:
    async def story() -> None:
        with Collector() as collector:
            file = tmp_path / "penstock.toml"
            file.write_text("discover = false\n" + SETTINGS.replace("http://127.0.0.1:4318", collector.url))
            env = {
                "PENSTOCK_SERVER_PORT": "0",
                "PENSTOCK_STORE_DATA": str(tmp_path / "var"),
                SECRET[0]: SECRET[1],
            }
            platform = await start(load(file, env), env)
            try:
                page = platform.metrics.render().decode()
                platform.audit.offer(FAILED)
            finally:
                await platform.close()
            assert collector.spans()[0].attributes["penstock.request_id"] == "req_1"
            assert collector.headers[0]["authorization"] == "Basic bWU6c2VjcmV0"
            assert collector.headers[0]["x-scope-orgid"] == "acme"
            told = set(re.findall(r"`(penstock_spans_\w+)`", PAGE))
            assert told == set(re.findall(r"^(penstock_spans_\w+) ", page, re.MULTILINE))

    run(story())
