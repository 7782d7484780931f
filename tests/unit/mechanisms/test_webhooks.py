"""Webhooks: a message is posted until somebody takes it, signed, at a growing pause, by one process at a time."""

from __future__ import annotations

import asyncio
import hmac
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from penstock.adapters.records.sqlite import SqliteRecords
from penstock.adapters.secrets.embedded import FileSecrets
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import Unavailable
from penstock.mechanisms.webhooks import (
    ATTEMPTS_MOST,
    BODY_BYTES,
    COLLECTIONS,
    DEAD_S,
    LEASE_S,
    PAGE,
    PAUSE_S,
    SWEEP_S,
    Message,
    Target,
    Webhooks,
    signature,
)
from penstock.ports.records import Records, Write
from tests.support import run

OPS = Target(name="ops", url="https://ops.test/hook", secret="ops-key")
SLACK = Target(name="slack", url="https://slack.test/x", form="slack", orgs=("acme",))
SECRETS = {"PENSTOCK_SECRET_OPS_KEY": "whsec_" + b64encode(b"k" * 32).decode()}


class Hooks:
    """Answers as told: a status, or "down"."""

    def __init__(self) -> None:
        self.answers: list[int | str] = []
        self.posts: list[tuple[str, dict[str, str], bytes]] = []
        self.under_way: asyncio.Event | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        self.posts.append((url, dict(headers), body))
        if self.under_way is not None:
            await self.under_way.wait()
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, str):
            raise Unavailable("The connection was refused.")
        return answer


class Stage:
    def __init__(self, records: SqliteRecords, clock: ManualClock) -> None:
        self.records, self.clock, self.hooks = records, clock, Hooks()

    def webhooks(self, *targets: Target) -> Webhooks:
        secrets = FileSecrets(None, SECRETS)
        return Webhooks(targets or (OPS,), self.records, secrets, self.hooks, self.clock)

    async def told(self, *targets: Target, org: str = "acme") -> Webhooks:
        sender = self.webhooks(*targets)
        message = Message(type="t.x", org=org, at_s=5.0, text="words", data=msgspec.Raw(b'{"a":1}'))
        if writes := sender.writes(message):
            await self.records.transact(writes)
        return sender


def staged(folder: Path, case: Callable[[Stage], Awaitable[None]]) -> None:
    async def opened() -> None:
        clock = ManualClock()
        records = await SqliteRecords.open(folder / "records.sqlite", COLLECTIONS, clock)
        try:
            await case(Stage(records, clock))
        finally:
            await records.close()

    run(opened())


def test_a_message_is_posted_once_and_signed_as_the_standard_says(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        sender = await stage.told()
        for _ in range(3):
            await sender.step()
        ((url, headers, body),) = stage.hooks.posts
        assert url == OPS.url
        assert msgspec.json.decode(body) == {
            "type": "t.x",
            "org": "acme",
            "at_s": 5.0,
            "text": "words",
            "data": {"a": 1},
        }
        at_s = int(stage.clock.wall_s())
        assert headers["webhook-timestamp"] == str(at_s)
        signed = f"{headers['webhook-id']}.{at_s}.".encode() + body
        mac = b64encode(hmac.new(b"k" * 32, signed, sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{mac}"
        assert (sender.delivered, await sender.waiting()) == (1, [])

    staged(tmp_path, case)


def test_the_signature_is_the_one_of_the_specification() -> None:
    """The example of the reference implementations' own tests (standard-webhooks, svix)."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    told = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert told == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature("plain", "a", 1, b"x") != signature("plain", "a", 2, b"x")


def test_what_was_taken_is_remembered_by_its_words_and_when(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        stage.hooks.answers = [500, 200]
        sender = await stage.told(OPS)
        await sender.step()
        assert not sender.taken
        stage.clock.advance(10.0)
        await sender.step()
        [taken] = sender.taken
        assert (taken.message.text, taken.attempts, taken.failure) == ("words", 2, "")
        assert taken.due_s == stage.clock.wall_s() and bytes(taken.message.data) == b"null"

    staged(tmp_path, case)


def test_each_target_is_told_in_its_form_of_its_organisations(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        for org in ("acme", "other"):
            await (await stage.told(OPS, SLACK, org=org)).step()
        slack = [(headers, body) for url, headers, body in stage.hooks.posts if url == SLACK.url]
        assert len(stage.hooks.posts) == 3
        assert [body for _, body in slack] == [b'{"text":"words"}']
        assert "webhook-signature" not in slack[0][0]

    staged(tmp_path, case)


@pytest.mark.parametrize("answer", [500, 429, 404, 301, 199, "down"])
def test_what_nobody_takes_is_posted_again_later_each_time(tmp_path: Path, answer: int | str) -> None:
    async def case(stage: Stage) -> None:
        sender = await stage.told()
        stage.hooks.answers = [answer] * 3
        at_s: list[float] = []
        while len(stage.hooks.posts) < 4:
            before = len(stage.hooks.posts)
            await sender.step()
            if len(stage.hooks.posts) > before:
                at_s.append(stage.clock.wall_s())
            stage.clock.advance(1)
        pauses = [later - earlier for earlier, later in pairwise(at_s)]
        assert pauses == [PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S]
        assert len({headers["webhook-id"] for _, headers, _ in stage.hooks.posts}) == 1
        assert (sender.delivered, sender.failures) == (1, 3)

    staged(tmp_path, case)


def test_it_is_given_up_after_its_attempts_kept_and_forgotten(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        sender = await stage.told()
        stage.hooks.answers = [500] * 99
        for _ in range(ATTEMPTS_MOST + 5):
            await sender.step()
            stage.clock.advance(3_600)
        assert (len(stage.hooks.posts), sender.dead) == (ATTEMPTS_MOST, 1)
        (dead,) = await sender.waiting(dead=True)
        assert (dead.attempts, dead.failure) == (ATTEMPTS_MOST, "the answer was 500")
        assert await sender.waiting() == []
        stage.clock.advance(DEAD_S + SWEEP_S)
        await sender.step()
        assert await sender.waiting(dead=True) == []

    staged(tmp_path, case)


def test_of_two_processes_one_posts(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        sender, other = await stage.told(), stage.webhooks()
        stage.hooks.under_way = asyncio.Event()
        posting = asyncio.create_task(sender.step())
        while not stage.hooks.posts:
            await asyncio.sleep(0)
        await other.step()
        assert len(stage.hooks.posts) == 1
        stage.hooks.under_way.set()
        await posting
        await other.step()
        assert len(stage.hooks.posts) == 1

    staged(tmp_path, case)


def test_one_that_died_in_the_middle_is_posted_again_under_the_same_id(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        sender = await stage.told()
        stage.hooks.under_way = asyncio.Event()
        posting = asyncio.create_task(sender.step())
        while not stage.hooks.posts:
            await asyncio.sleep(0)
        posting.cancel()
        await asyncio.gather(posting, return_exceptions=True)
        stage.hooks.under_way = None
        again = stage.webhooks()
        stage.clock.advance(LEASE_S - 1)
        await again.step()
        assert len(stage.hooks.posts) == 1
        stage.clock.advance(1)
        await again.step()
        first, second = (headers["webhook-id"] for _, headers, _ in stage.hooks.posts)
        assert first == second

    staged(tmp_path, case)


@pytest.mark.parametrize(
    ("targets", "failure"),
    [
        ((SLACK,), "no such target is configured"),
        ((Target(name="ops", url=OPS.url, secret="missing"),), "There is no secret called missing."),
    ],
)
def test_a_target_or_secret_that_is_gone_is_a_failed_attempt(
    tmp_path: Path, targets: tuple[Target, ...], failure: str
) -> None:
    async def case(stage: Stage) -> None:
        await stage.told(OPS)
        sender = stage.webhooks(*targets)
        await sender.step()
        (waiting,) = await sender.waiting()
        assert waiting.failure == failure
        assert not stage.hooks.posts

    staged(tmp_path, case)


def test_a_secret_that_is_no_base64_is_a_failed_attempt(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(SECRETS, "PENSTOCK_SECRET_OPS_KEY", "whsec_a")

    async def case(stage: Stage) -> None:
        sender = await stage.told()
        await sender.step()
        assert sender.failures == 1
        assert b64decode("YQ==") == b"a"

    staged(tmp_path, case)


def test_a_hundred_messages_reach_their_target(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        for _ in range(100):
            sender = await stage.told()
        await sender.step()
        assert (sender.delivered, len({h["webhook-id"] for _, h, _ in stage.hooks.posts})) == (100, 100)

    staged(tmp_path, case)


def test_a_target_that_takes_nothing_holds_up_others_for_a_page_of_its_own_at_most(tmp_path: Path) -> None:
    deaf = Target(name="deaf", url="https://deaf.test/hook")

    async def case(stage: Stage) -> None:
        for _ in range(3 * PAGE):
            await stage.told(deaf)
        sender = stage.webhooks(OPS, deaf)
        await stage.told(OPS)
        stage.hooks.answers = ["down"] * PAGE
        await sender.step()
        assert [url for url, _, _ in stage.hooks.posts] == [deaf.url] * PAGE + [OPS.url]
        stage.hooks.posts.clear()
        await sender.step()
        assert [url for url, _, _ in stage.hooks.posts] == [deaf.url] * 2 * PAGE

    staged(tmp_path, case)


def test_a_row_that_cannot_be_read_is_counted_told_once_and_holds_up_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def case(stage: Stage) -> None:
        sender = await stage.told()
        (row,) = await stage.records.find("webhooks", "*", "state", "waiting")
        for id, value in (("msg_", b'{"target"'), ("msg_0", b'{"target":1}')):  # both before the good one
            assert id < row.id
            await stage.records.transact(
                [Write(collection="webhooks", tenant="*", id=id, value=value, indexed=row.indexed)]
            )
        for _ in range(3):
            await sender.step()
        assert (sender.delivered, sender.unread, await sender.waiting()) == (1, 2, [])
        assert [record.args for record in caplog.records if "cannot be read" in record.msg] == [
            ("msg_",),
            ("msg_0",),
        ]
        kept = await stage.records.find("webhooks", "*", "state", "waiting")
        assert [each.id for each in kept] == ["msg_", "msg_0"]

    staged(tmp_path, case)


async def write_many(sender: Webhooks, records: Records, org: str, count: int) -> None:
    """Make `count` messages wait, named by their numbers."""
    for start in range(0, count, 100):
        told = [
            Message(type="t.x", org=org, at_s=number, text=str(number), data=msgspec.Raw(b"{}"))
            for number in range(start, min(start + 100, count))
        ]
        await records.transact([write for message in told for write in sender.writes(message)])


def test_what_waits_is_told_by_organisation_the_latest_of_it(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        sender = stage.webhooks()
        await write_many(sender, stage.records, "other", 1_100)
        await write_many(sender, stage.records, "acme", 5)
        for org, limit, wanted in (
            ("acme", 100, range(5)),
            ("acme", 5, range(5)),
            ("acme", 4, range(1, 5)),
            ("other", 1_000, range(100, 1_100)),
            ("nobody", 10, range(0)),
        ):
            found = await sender.waiting(org=org, limit=limit)
            assert [each.message.text for each in found] == [str(number) for number in wanted], (org, limit)
        everything = await sender.waiting(limit=6)
        assert [each.message.org for each in everything] == ["other"] + ["acme"] * 5

    staged(tmp_path, case)


def test_what_was_given_up_is_told_by_organisation(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        stage.hooks.answers = [500] * 99
        for org in ("acme", "other"):
            sender = await stage.told(org=org)
        for _ in range(ATTEMPTS_MOST):
            await sender.step()
            stage.clock.advance(3_600)
        assert [each.message.org for each in await sender.waiting(dead=True, org="other")] == ["other"]
        assert await sender.waiting(org="other") == []

    staged(tmp_path, case)


def test_a_message_at_the_bound_may_fail_and_holds_up_nobody(tmp_path: Path) -> None:
    async def case(stage: Stage) -> None:
        sender = stage.webhooks(OPS)

        def message(size: int) -> Message:
            return Message(type="t.x", org="acme", at_s=5.0, text="w" * size, data=msgspec.Raw(b"{}"))

        (small,) = sender.writes(message(1))
        assert small.value is not None
        largest = BODY_BYTES - len(small.value) + 1
        with pytest.raises(Unavailable):
            sender.writes(message(largest + 1))
        await sender.send(message(largest))
        await sender.send(message(1))
        stage.hooks.answers = ["down"]
        await sender.step()
        assert (len(stage.hooks.posts), sender.delivered, sender.failures) == (2, 1, 1)
        stage.clock.advance(PAUSE_S)
        await sender.step()
        assert sender.delivered == 2

    staged(tmp_path, case)
