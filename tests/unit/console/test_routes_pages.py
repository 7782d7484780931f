"""Routes and canaries: what is shown of the table and its versions, on a whole platform what is changed by hand, and
that a canary's figures come by themselves.
"""

from __future__ import annotations

from typing import Any

import pytest

from penstock.console import routing
from penstock.console.pages.routes import METRICS, STATES
from penstock.gateway.management import canaries as theirs
from penstock.mechanisms.sequential import SHARES
from tests.browser import made_up_oversight
from tests.unit.console.place import filled, place
from tests.unit.console.support import NOW_S, Browser, says
from tests.unit.console.test_oversight_pages import links, platform
from tests.unit.console.test_streams import listen

LOCAL = {"provider": "local", "model": "extractive"}


def document(percent: float) -> dict[str, Any]:
    """Return routes of one, with a canary of so many per cent."""
    canary = {"targets": [LOCAL], "percent": percent}
    return {"routes": [{"model": "smart", "targets": [LOCAL], "canary": canary}]}


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_shares_add_up_to_the_route_s_traffic_its_canary_s_included():
    smart, haiku, code = made_up_oversight.document(percent=5.0, weight=80)["routes"]
    shares = {(each.label, each.kind): each.share for each in routing.back_ends(smart, {})}
    assert shares == {
        ("openai/gpt-4o", ""): 76.0,
        ("azure/gpt-4o", ""): 19.0,
        ("openai/gpt-4.1", "canary"): 5.0,
    }
    fallback = routing.back_ends(haiku, {("anthropic", "claude-haiku-4-5"): 7})
    assert [(each.kind, each.share, each.requests) for each in fallback] == [
        ("", 100.0, 7),
        ("fallback only", 0.0, 0),
    ]
    assert [each.kind for each in routing.back_ends(code, {})] == ["", "canary", "easy requests"]


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (
            {"requests_per_minute": 60, "tokens_per_minute": 20_000, "concurrency": 4},
            "each organisation: 60 requests and 20,000 tokens a minute, 4 at one time",
        ),
        ({"tokens_per_minute": 500, "window": True}, "each organisation: 500 tokens in any minute"),
        ({"concurrency": 1}, "each organisation: 1 at one time"),
    ],
)
def test_what_each_organisation_may_use_of_a_route_is_told(rate: dict[str, Any], words: str):
    limited, free = routing.route_lines(
        [{"model": "a", "targets": [LOCAL], "rate": rate}, {"model": "b", "targets": [LOCAL], "rate": {}}], {}
    )
    assert limited.rules == ("by weight", words)
    assert free.rules == ("by weight",)


def test_what_a_version_changed_is_told_route_by_route_with_targets_as_words():
    before, after = made_up_oversight.document(5.0, 80), made_up_oversight.document(10.0, 80)
    after["routes"][0]["targets"].insert(0, made_up_oversight.target("local", "llama", 1))
    after["routes"].pop(1)
    after["residency"].append({"org": "other", "regions": ["us"]})
    found = {each.name: each for each in routing.changed_routes(before, after)}
    assert {name: each.kind for name, each in found.items()} == {
        "smart": "changed",
        "where other may be served": "new",
        "claude-haiku": "gone",
    }
    lines = {line.name: (line.before, line.after) for line in found["smart"].what.lines}
    assert lines["canary · percent"] == ("5", "10")
    assert lines["targets"][1].startswith("local/llama × 1, openai/gpt-4o × 80")
    assert routing.changed_routes(before, made_up_oversight.document(5.0, 80)) == []


def test_a_canary_is_shown_beside_production_with_evidence_bound_and_verdict():
    html = Browser(platform()).get("/routes").text
    for text in (
        "on trial",
        "of 200",
        "taken out",
        "412.7",
        "at most 1 %",
        "cannot be used",
        "azure is not configured",
    ):
        assert text in html
    found = links(html)
    assert "/console/requests?org=%2A&provider=openai&model=gpt-4.1&last=24h" in found
    assert "/console/routes/stop?route=smart" in found and "/console/routes/stop?route=code" not in found


def test_every_state_and_metric_of_the_platform_has_its_words():
    assert set(STATES) == set(theirs.State.__args__)
    assert set(METRICS) == set(SHARES)


def test_the_canaries_are_drawn_anew_when_something_about_them_changed():
    latest = made_up_oversight.canaries(NOW_S, step=60)
    made = platform(**{"GET /routing/canaries/live": lambda _: says(("canaries", latest))})
    text = listen(made, "/routes?live=1", pieces=2)
    assert "event: paint\ndata: " in text and f"of {latest.canaries[0].newcomer.calls}" in text


def test_an_explanation_keeps_the_question_and_shows_the_order_and_why():
    made = platform()
    html = Browser(made).get("/routes/explain?model=smart&user=jens&urgent=on&input_tokens=1,200").text
    asked = {"model": "smart", "user": "jens", "urgent": True, "input_tokens": 1_200}
    assert made.bodies("POST /routing/explain") == [asked]
    assert html.index("openai/gpt-4o") < html.index("anthropic/claude-haiku-4-5")
    assert "azure/gpt-4o is given a rest" in html and "when that failed" in html
    assert 'value="jens"' in html and "checked" in html
    assert Browser(made).get("/routes/explain?model=smart&input_tokens=many").status == 400
    assert len(made.bodies("POST /routing/explain")) == 1


# --- what is done, on a whole platform --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def it(tmp_path_factory):
    with place(tmp_path_factory.mktemp("routes")) as made:
        made.run(made.platform.routing.versions.apply(document(5.0), author="ada", why="the first"))
        yield made


@pytest.fixture(scope="module")
def ada(it):
    return it.person("owner")


def percent(it: Any) -> float:
    return it.platform.routing.versions.document.routes[0].canary.percent


def test_a_canary_is_taken_out_with_a_reason_and_gone_back_to_with_another(it, ada):
    assert "the first" in ada.get("/routes").text
    assert ada.fill("/routes/stop?route=smart", why="  ").status == 400
    assert percent(it) == 5.0
    assert ada.fill("/routes/stop?route=smart", why="it is slow").status == 303
    assert percent(it) == 0.0
    html = ada.get("/routes/versions").text
    assert "it is slow" in html and "Ada" in html
    html = ada.get("/routes/versions/2").text
    assert "<del>5</del>" in html and "<ins>0</ins>" in html
    assert ada.fill("/routes/versions/1", why="").status == 400
    assert percent(it) == 0.0
    assert ada.fill("/routes/versions/1", why="it was the network").status == 303
    assert percent(it) == 5.0
    assert "repeats version 1" in ada.get("/routes/versions").text


def test_what_somebody_else_changed_meanwhile_is_not_overwritten(it, ada):
    form, where = filled(ada.get("/routes/stop?route=smart").text)
    versions = it.platform.routing.versions
    it.run(versions.apply(document(7.0), author="bo", why="a little more"))
    reply = ada.post(where.removeprefix("/console"), form | {"why": "mine"})
    assert reply.status == 409 and "mine" in reply.text
    assert versions.current.author == "bo" and percent(it) == 7.0


def test_a_request_that_is_not_made_is_explained_by_the_platform_itself(it, ada):
    html = ada.get("/routes/explain?model=smart").text
    assert "local/extractive" in html and "asked first" in html
    reply = ada.get("/routes/explain?model=never-heard-of")
    assert reply.status == 404 and 'value="never-heard-of"' in reply.text


@pytest.mark.parametrize("path", ["/routes/versions/99", "/routes/versions/x", "/routes/stop?route=nobody"])
def test_what_is_not_there_is_said(ada, path):
    assert ada.get(path).status in (400, 404)


def test_the_other_pages_open_on_a_whole_platform(ada):
    for path in ("/alerts", "/audit", "/cache", "/reconciliation", "/routes"):
        assert ada.get(path).status == 200, path
    assert "[lake]" in ada.get("/audit").text and "[cache]" in ada.get("/cache").text
    assert ada.post("/alerts/test").status == 303
    sent = {"vendor": "openai", "form": "csv", "text": "date,model,cost_usd\n2026-11-20,gpt-4o,1.00\n"}
    assert "not known here" in ada.post("/reconciliation", sent).text
