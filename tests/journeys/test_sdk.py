"""The client against a whole platform, over a socket and in process: two ways, one platform.

Promise: what the client asks is what the platform serves, money included; the way inside the process passes the same
keys, limits and audit as the one over a socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from penstock.edge.app import Edge
from penstock.edge.errors import render
from penstock.kernel.context import Cap, Rate
from penstock.kernel.errors import Forbidden, NotFound, OverBudget, OverLimit, Unauthenticated
from penstock.sdk.client import Client
from penstock.sdk.in_process import InProcessTransport
from penstock.sdk.people import InviteRequest, LinkSignIn, PersonChange, SignIn
from penstock.sdk.replies import KeyChange, KeyRequest, ScopeRequest
from tests.stage import MODEL, Stage, stage, until
from tests.support import run

QUESTION = [{"role": "user", "content": "How much water?"}]
ways = pytest.mark.parametrize("way", ["http", "in-process"])


@asynccontextmanager
async def platform(folder, way: str) -> AsyncIterator[tuple[Stage, Client]]:
    """Give a platform, and a client of its owner."""
    async with stage(folder) as it:
        owner = await it.caller(role="owner")
        client = Client(it.url.removesuffix("/v1"), owner.token)
        if way == "in-process":
            await client.close()
            edge = Edge(it.platform.routes, it.platform.authenticator)
            client = Client(transport=InProcessTransport(edge.handle, owner.token, render=render))
        async with client:
            yield it, client


@ways
def test_what_was_asked_is_what_was_served_and_charged(tmp_path, way):
    async def journey():
        async with platform(tmp_path, way) as (it, client):
            assert MODEL in [model.id for model in await client.models.list()]
            made = await client.keys.create(KeyRequest(org="acme", team="search", name="app"))
            app = client.under(made.token)
            answer = await app.chat.create(model=MODEL, messages=QUESTION, max_tokens=20)
            async with app.chat.stream(model=MODEL, messages=QUESTION, max_tokens=20) as stream:
                said = "".join([chunk.text async for chunk in stream])
            assert len(answer.text.split()) == len(said.split()) == 20
            assert answer.route == stream.route == "sim/sim/model"
            assert stream.usage == answer.usage
            assert answer.request_id != stream.request_id

            async def charged() -> bool:
                rows = await client.usage.list(prefix=f"/key:{made.key.id}@")
                return {(row.posted_nanos, row.held_nanos, row.requests) for row in rows} == {
                    (2 * answer.cost_nanos, 0, 2)
                }

            await until(charged, 5.0)
            assert answer.cost_nanos == sum(row.cost_nanos for row in await it.truth(2)) // 2
            assert (await client.ledger.verify()).whole

    run(journey())


@ways
def test_keys_and_limits_are_managed_and_felt(tmp_path, way):
    async def journey():
        async with platform(tmp_path, way) as (_, client):
            cap = Cap(window="day", limit_nanos=1)
            put = await client.scopes.put(ScopeRequest(level="team", org="acme", team="poor", caps=(cap,)))
            assert await client.scopes.get("team", team="poor") == put
            assert put in await client.scopes.list("team")
            with pytest.raises(NotFound):
                await client.scopes.get("team", team="nobody")
            poor = await client.keys.create(KeyRequest(org="acme", team="poor"))
            with pytest.raises(OverBudget) as refusal:
                await client.under(poor.token).chat.create(model=MODEL, messages=QUESTION)
            assert refusal.value.limit is not None
            assert [row.room_nanos for row in await client.budgets.list() if row.level == "team"] == [1]

            key = await client.keys.create(KeyRequest(org="acme", name="a"))
            changed = await client.keys.change(
                key.key.id, KeyChange(name="b", rate=Rate(requests_per_minute=1))
            )
            assert (changed.name, changed.team) == ("b", key.key.team)
            assert await client.keys.get(key.key.id) == changed
            slow = client.under(key.token)
            await slow.chat.create(model=MODEL, messages=QUESTION, max_tokens=1)
            with pytest.raises(OverLimit) as limited:
                async with slow.chat.stream(model=MODEL, messages=QUESTION, max_tokens=1):
                    pass
            assert limited.value.retry_after_s > 0
            rotated = await client.keys.rotate(key.key.id, overlap_s=0)
            await client.keys.revoke(rotated.key.id)
            with pytest.raises(Unauthenticated):
                await client.under(rotated.token).models.list()
            with pytest.raises(Forbidden):
                await client.under(poor.token).keys.list()

    run(journey())


@ways
def test_who_leaves_stops_the_vendor_and_nothing_stays_held(tmp_path, way):
    async def journey():
        async with platform(tmp_path, way) as (it, client):
            prefix = "org:acme@"

            async def held_nanos() -> int:
                return sum(row.held_nanos for row in await it.platform.stores.ledger.balance(prefix=prefix))

            async def holds() -> bool:
                return await held_nanos() > 0

            async def holds_nothing() -> bool:
                return await held_nanos() == 0

            slow = "sim/slow_first_byte;seconds=30"
            asked = asyncio.create_task(client.chat.create(model=slow, messages=QUESTION))
            await until(holds, 5.0)
            asked.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asked
            await until(holds_nothing, 5.0)

    run(journey())


@ways
def test_who_is_asked_and_how_it_is(tmp_path, way):
    async def journey():
        async with platform(tmp_path, way) as (_, client):
            me = await client.me()
            assert (me.kind, me.org, me.role, me.csrf) == ("key", "acme", "owner", "")
            assert "write keys" in me.may
            status = await client.status()
            assert status.dependencies
            assert all(status.dependencies.values())
            assert {price.provider for price in await client.prices.list(model="gpt-4o-mini")} >= {"openai"}
            assert not (await client.under("").sessions.oidc()).enabled
            with pytest.raises(Unauthenticated):
                await client.under("").me()

    run(journey())


@ways
def test_what_happens_is_seen_as_it_happens_and_afterwards(tmp_path, way):
    async def journey():
        async with platform(tmp_path, way) as (_, client):
            async with client.requests.live(feature="search") as live, client.overview.live() as views:
                first = await anext(views)
                await client.chat.create(model=MODEL, messages=QUESTION, max_tokens=1, feature="other")
                answer = await client.chat.create(
                    model=MODEL, messages=QUESTION, max_tokens=1, feature="search"
                )
                seen = await anext(live)
                assert (seen.request_id, seen.cost_nanos) == (answer.request_id, answer.cost_nanos)
                while (await anext(views)).latency.requests < first.latency.requests + 2:
                    pass

            async def kept() -> bool:
                return len((await client.requests.list()).requests) == 2

            await until(kept, 10.0)
            detail = await client.requests.get(answer.request_id)
            assert (detail.request, detail.spans[0].depth) == (seen, 0)
            page = await client.requests.list(limit=1)
            rest = await client.requests.list(limit=1, after=page.after)
            assert {each.feature for each in page.requests + rest.requests} == {"search", "other"}
            costs = await client.costs.get("feature", org="acme")
            assert {row.group: row.requests for row in costs.rows} == {("search",): 1, ("other",): 1}
            assert (await client.settings.get()).rows

    run(journey())


@ways
def test_people_sign_in_and_are_managed(tmp_path, way):
    async def journey():
        async with platform(tmp_path, way) as (it, client):
            link = await it.platform.people.owner_link()
            given = LinkSignIn(
                token=link, email="kim@example.org", name="Kim", password="correct horse battery"
            )
            made = await client.under("").sessions.accept(given)
            kim = client.under(made.token, "10.0.0.9")
            assert (await kim.me()).csrf == made.csrf
            invited = await kim.people.invite(
                InviteRequest(email="ada@example.org", name="Ada", role="auditor")
            )
            accepted = LinkSignIn(token=invited.link_token, password="another horse battery")
            ada = client.under((await client.under("").sessions.accept(accepted)).token)
            with pytest.raises(Forbidden):
                await ada.people.change(made.person.id, PersonChange(role="auditor"))
            changed = await kim.people.change(invited.person.id, PersonChange(name="Ada L."))
            assert changed in await kim.people.list()
            (change,) = await kim.changes.list(subject=changed.id, limit=1)
            assert (change.actor_id, change.before["name"], change.after["name"]) == (
                made.person.id,
                "Ada",
                "Ada L.",
            )
            await kim.people.disable(changed.id)
            with pytest.raises(Unauthenticated):
                await ada.me()
            again = SignIn(email="kim@example.org", password="correct horse battery")
            other = client.under((await client.under("").sessions.sign_in(again)).token)
            assert [session.current for session in await other.sessions.list()].count(True) == 1
            await kim.sessions.sign_out()
            with pytest.raises(Unauthenticated):
                await kim.me()
            assert len(await other.sessions.list()) == 1
            assert made.token not in repr(made)

    run(journey())
