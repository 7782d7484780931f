"""The playground: two answers at once, each with its figures; whoever leaves ends both; nothing but text is shown.

Most of it on a whole platform over a simulated provider, whose own books tell what really happened.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from penstock.console.assets import FOLDER
from penstock.console.pages import playground
from penstock.kernel.context import Cap
from penstock.kernel.errors import NotFound, OverBudget
from penstock.mechanisms.changes import THE_PLATFORM
from penstock.mechanisms.persons import Person
from penstock.mechanisms.scopes import ScopeDoc
from penstock.sdk.people import Me
from penstock.sdk.replies import Model
from penstock.sdk.requests import RequestDetail, RequestView
from penstock.simulator.behaviour import Speeds
from penstock.simulator.server import SimulatorOptions
from penstock.wiring.console import console
from tests.stage import Stage, stage, until
from tests.support import run
from tests.unit.console.support import NOW_S, OWNER, Answered, Browser, Platform
from tests.unit.console.test_pages import EVIL, Elements

SLOW = SimulatorOptions(speeds=Speeds(tokens_per_s=20.0, answer_tokens=200.0))
QUICK = SimulatorOptions(speeds=Speeds(answer_tokens=12.0))
HEADERS = {"content-type": "application/json", "sec-fetch-site": "same-origin"}


class Player:
    """Somebody in the playground of a whole platform."""

    def __init__(self, it: Stage, person: Person, token: str) -> None:
        self.it, self.person = it, person
        self._browser = Browser.__new__(Browser)
        self._browser.app = console(it.platform)
        self._browser.jar = {"penstock_session": token}
        self._csrf = it.platform.sessions.csrf_token(token.encode())

    async def get(self, path: str) -> Answered:
        return await self._browser.call("GET", path)

    async def ask(self, question: object, *, csrf: str | None = None, most: int = 10_000) -> Answered:
        """Ask; leave after so many pieces of the reply."""
        token = self._csrf if csrf is None else csrf
        body = question if isinstance(question, bytes) else msgspec.json.encode(question)
        headers = {**HEADERS, "x-csrf-token": token}
        return await self._browser.call("POST", "/playground/ask", body, headers=headers, most=most)


@asynccontextmanager
async def player(folder: Any, simulator: SimulatorOptions, role: str = "developer") -> AsyncIterator[Player]:
    """Put a platform up and let somebody in."""
    async with stage(folder, simulator=simulator) as it:
        people = it.platform.people
        person, link = await people.invite(
            THE_PLATFORM, "kim@acme.example", "Kim", role, org="acme", team="search"
        )
        person = await people.accept(link, "correct horse battery staple 42", peer="10.1.2.3")
        _, token = await it.platform.sessions.open(person, method="password", agent="Firefox")
        yield Player(it, person, token)


def question(*models: str, text: str = "When does the gate open?", **more: object) -> dict[str, object]:
    return {
        "panes": [{"model": model, "turns": [{"role": "user", "content": text}]} for model in models],
        **more,
    }


def told(reply: Answered, pane: int = 0) -> list[dict[str, Any]]:
    """Return what one pane was told, in order."""
    lines = [json.loads(line) for line in reply.text.split("\n") if line]
    return [line for line in lines if line["pane"] == pane]


def text_of(lines: list[dict[str, Any]]) -> str:
    return "".join(line.get("text", "") for line in lines if line["kind"] == "said")


# --- on a whole platform ----------------------------------------------------------------------------------------------


def test_two_models_answer_at_once_under_the_person_s_own_name_and_tell_what_it_took(tmp_path):
    async def scene() -> None:
        async with player(tmp_path, QUICK) as kim:
            reply = await kim.ask(question("sim/model", "gpt-4o-mini", max_tokens=9))
            assert reply.headers["content-type"].startswith("application/x-ndjson")
            for pane in (0, 1):
                lines = told(reply, pane)
                assert [line["kind"] for line in (lines[0], lines[-1])] == ["began", "ended"]
                assert text_of(lines)
                assert lines[-1]["output_tokens"] == "9"
                assert lines[-1]["finish"] == "length"
            began = told(reply)[0]
            figures = json.loads((await kim.get(f"/playground/requests/{began['request_id']}")).text)
            assert figures["link"] == f"/console/requests/{began['request_id']}"
            assert figures["route"] == began["route"]
            rows = await kim.it.truth(2)
            assert figures["cost_nanos"] == next(row.cost_nanos for row in rows if row.model == "sim/model")
            traces = kim.it.platform.traces

            async def is_kept() -> bool:
                return await traces.get(began["request_id"]) is not None

            await until(is_kept, 10.0)
            kept = await traces.get(began["request_id"])
            assert (kept.user, kept.org, kept.feature) == (kim.person.id, "acme", "playground")

    run(scene())


def test_a_browser_that_leaves_ends_both_answers_at_the_provider(tmp_path):
    async def scene() -> None:
        async with player(tmp_path, SLOW) as kim:
            reply = await kim.ask(question("sim/model", "gpt-4o-mini"), most=4)
            assert "ended" not in reply.text
            rows = await kim.it.truth(2)
            assert {row.outcome for row in rows} == {"client_gone"}
            assert all(row.output_tokens < 100 for row in rows)

            async def nothing_is_held() -> bool:
                found = await kim.it.platform.stores.ledger.balance(prefix="org:acme")
                return bool(found) and not any(row.held_nanos for row in found)

            await until(nothing_is_held, 5.0)

    run(scene())


def test_one_model_s_error_is_told_in_its_pane_while_the_other_goes_on(tmp_path):
    async def scene() -> None:
        async with player(tmp_path, QUICK) as kim:
            reply = await kim.ask(question("sim/no-such-model", "sim/model"))
            (wrong,) = told(reply, 0)
            assert (wrong["kind"], wrong["code"]) == ("failed", "model_not_found")
            assert "Models served" in wrong["remedy"]
            assert told(reply, 1)[-1]["kind"] == "ended"

    run(scene())


def test_an_answer_that_breaks_off_keeps_what_came_and_says_why(tmp_path):
    async def scene() -> None:
        async with player(tmp_path, QUICK) as kim:
            reply = await kim.ask(question("sim/slow_first_byte;seconds=0.5", "sim/cut"))
            assert told(reply, 0)[-1]["kind"] == "ended"
            assert told(reply, 1)[-1]["kind"] == "failed"

    run(scene())


def test_a_role_that_may_not_use_models_is_refused_page_and_question(tmp_path):
    async def scene() -> None:
        async with player(tmp_path, QUICK, role="auditor") as auditor:
            assert (await auditor.get("/playground")).status == 403
            assert (await auditor.ask(question("sim/model"))).status == 403
            assert not auditor.it.simulator.truth.rows()

    run(scene())


@pytest.mark.parametrize("csrf", ["", "of-another-session"])
def test_a_question_without_the_session_s_token_is_refused_before_a_model_hears_of_it(tmp_path, csrf):
    async def scene() -> None:
        async with player(tmp_path, QUICK) as kim:
            reply = await kim.ask(question("sim/model"), csrf=csrf)
            assert reply.status == 403
            assert not kim.it.simulator.truth.rows()

    run(scene())


def test_a_budget_that_is_spent_refuses_the_playground_too(tmp_path):
    async def scene() -> None:
        async with player(tmp_path, QUICK) as kim:
            cap = Cap(window="day", limit_nanos=1)
            doc = ScopeDoc(path=f"org:acme/user:{kim.person.id}", level="user", caps=(cap,))
            await kim.it.platform.tenancy.put_scope("acme", doc, by=THE_PLATFORM)
            (refused,) = told(await kim.ask(question("sim/model")))
            assert refused["kind"] == "failed"
            assert refused["code"] == OverBudget.code
            assert not kim.it.simulator.truth.rows()

    run(scene())


def test_a_turn_goes_on_with_the_conversation_of_its_own_pane(tmp_path):
    async def scene() -> None:
        async with player(tmp_path, QUICK) as kim:
            panes = [
                {
                    "model": "local/extractive",
                    "turns": [
                        {"role": "user", "content": "Water runs."},
                        {"role": "assistant", "content": "I see."},
                        {"role": "user", "content": "What runs?"},
                    ],
                },
                {"model": "local/extractive", "turns": [{"role": "user", "content": "Hello."}]},
            ]
            reply = await kim.ask({"panes": panes, "system": "Be brief."})
            assert "Water runs." in text_of(told(reply, 0))
            assert "Water runs." not in text_of(told(reply, 1))

    run(scene())


# --- the page, on a scripted one -------------------------------------------------------------------------------------


def test_the_page_offers_the_models_there_are_two_of_them_chosen():
    models = {
        "data": [Model(id="b/2", owned_by="b"), Model(id="a/1", owned_by="a"), Model(id="b/1", owned_by="b")]
    }
    html = Browser(Platform(**{"GET /v1/models": models})).get("/playground").text
    chosen = [
        given["value"] for tag, given in Elements(html).found if tag == "option" and "selected" in given
    ]
    assert chosen == ["b/2", "a/1"]
    assert playground.groups(tuple(models["data"])) == [("a", ["a/1"]), ("b", ["b/1", "b/2"])]


def test_one_model_leaves_the_second_side_empty_and_none_says_what_to_do():
    one = {"data": [Model(id="a/1", owned_by="a")]}
    html = Browser(Platform(**{"GET /v1/models": one})).get("/playground").text
    chosen = [
        given["value"] for tag, given in Elements(html).found if tag == "option" and "selected" in given
    ]
    assert chosen == ["a/1"]
    empty = Browser(Platform(**{"GET /v1/models": {"data": []}})).get("/playground").text
    assert "No model to try yet" in empty
    assert "playground.js" not in empty


def test_a_hostile_model_s_name_is_text():
    models = {"data": [Model(id=EVIL, owned_by=EVIL)]}
    found = Elements(Browser(Platform(**{"GET /v1/models": models})).get("/playground").text).found
    assert not any(str(given.get("src")) == "x" or "onerror" in given for _, given in found)
    assert any(tag == "option" and given["value"] == EVIL for tag, given in found)


def test_the_script_writes_nothing_but_text():
    source = (FOLDER / "js/playground.js").read_text()
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "setHTML",
    ):
        assert way not in source


def test_figures_wait_for_the_record_and_give_up_in_the_end(monkeypatch):
    monkeypatch.setattr(playground, "LOOK_S", 0.0)
    looks = 0

    def later(_: dict[str, str]) -> RequestDetail:
        nonlocal looks
        looks += 1
        if looks < playground.LOOKS:
            raise NotFound
        view = RequestView(request_id="req_1", at_s=NOW_S, cost_nanos=1_500, route="sim/m", estimated=True)
        return RequestDetail(request=view, spans=())

    platform = Platform(**{"GET /requests/*": later})
    figures = json.loads(Browser(platform).get("/playground/requests/req_1").text)
    assert (figures["cost"], figures["route"], figures["is_estimated"]) == ("$0.0000015", "sim/m", True)
    never = Platform(**{"GET /requests/*": NotFound()})
    assert json.loads(Browser(never).get("/playground/requests/req_1").text) == {"is_known": False}
    assert len(never.queries("GET /requests/*")) == playground.LOOKS


def test_whoever_may_not_use_models_is_not_shown_the_way():
    me = msgspec.structs.replace(OWNER, may=("read usage", "read requests"))
    assert isinstance(me, Me)
    html = Browser(Platform(**{"GET /me": me})).get("/account").text
    hrefs = [given.get("href") for tag, given in Elements(html).found if tag == "a"]
    assert "/console/playground" not in hrefs
    assert "/console/requests" in hrefs
