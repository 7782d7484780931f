"""Webhooks: messages that reach whoever an operator named, sooner or later, across restarts.

    writes ──(in one transaction with what they tell of)──▶ rows ──(due, one process at a time)──▶ posted ──▶ gone
                                                             ▲                                        │
                                                             └──── again, later each time ◀── failed ─┴──▶ dead

Promises: a message is a row of the same transaction as what it tells of, so that neither is there without the other. It
is posted until somebody takes it (a status of 2xx), at most `ATTEMPTS_MOST` times with growing pauses; then it is dead,
kept for a month to be looked at, and counted. It is posted once unless the process dies, or the answer is lost, between
the post and its note; then again under the same `webhook-id`. A target that does not take what it is posted keeps the
messages to others waiting for one page of its own at most. Only addresses of the configuration are posted to, looked
up by the target's name at each attempt, so that no row and no request can name one. A row that cannot be read stays as
it is, is counted, and holds up none after it.

Messages are signed as Standard Webhooks 1.0 says (github.com/standard-webhooks/standard-webhooks): HMAC-SHA256 over
``id.timestamp.body`` with the target's secret, of which the one read last counts.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Final, Literal, Protocol

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.errors import PenstockError, StaleVersion, Unavailable
from penstock.kernel.ids import new_id
from penstock.ports.records import Collection, Records, Row, Write
from penstock.ports.secrets import Secrets

COLLECTIONS: Final = (Collection(name="webhooks", indexes=("state", "state+org")),)
PLATFORM: Final = "*"
ATTEMPTS_MOST: Final = 12
PAUSE_S: Final = 5.0
PAUSE_MOST_S: Final = 3_600.0
"""Pauses of 5 s, 10 s, 20 s … 1 h: twelve attempts take about three hours."""
LEASE_S: Final = 60.0
"""What one attempt may take; then another process may try."""
TAKEN_MOST: Final = 100
BODY_BYTES: Final = 65_536
PAGE: Final = 20
"""Rows read, and messages posted, at a time."""
LISTING_PAGE: Final = 1_000
LISTING_PAGES: Final = 100
UNREAD_MOST: Final = 1_000
"""Rows that cannot be read of which the names are kept, so that each is told of once."""
SWEEP_S: Final = 3_600.0
DEAD_S: Final = 30 * 86_400.0
EVERY_S: Final = 1.0
_log = logging.getLogger("penstock.webhooks")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to tell. `secret` is the name of the secret to sign with, "" to sign nothing.

    `form` "json" sends the message as it is, "slack" its text only. `orgs` are those told of, all when there is none.
    """

    name: str
    url: str
    secret: str = ""
    form: Literal["json", "slack"] = "json"
    orgs: tuple[str, ...] = ()


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is told: `type` such as "alert.firing", `text` for people, `data` for machines."""

    type: str
    org: str
    at_s: float
    text: str
    data: msgspec.Raw


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A message on its way to a target; due at the wall time `due_s`."""

    target: str
    message: Message
    due_s: float
    attempts: int = 0
    failure: str = ""


class Hooks(Protocol):
    """What posts."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Post a body; returns the status of the answer. Raises PenstockError."""
        ...


def signature(secret: str, id: str, at_s: int, body: bytes) -> str:
    """Return the `webhook-signature` of a message; a secret ``whsec_…`` is base64, any other is its own bytes."""
    key = (
        b64decode(secret.removeprefix("whsec_"), validate=True)
        if secret.startswith("whsec_")
        else secret.encode()
    )
    return "v1," + b64encode(hmac.digest(key, f"{id}.{at_s}.".encode() + body, "sha256")).decode()


class Webhooks:
    """Posts what waits. `start` it on the event loop, `close` it at the end."""

    def __init__(
        self, targets: Sequence[Target], records: Records, secrets: Secrets, hooks: Hooks, clock: Clock
    ) -> None:
        """Tell `targets`, whose names differ."""
        self.delivered = 0
        """Messages taken, since this object was made; so are the other figures."""
        self.failures = 0
        """Attempts that failed."""
        self.dead = 0
        """Messages given up."""
        self._unread: set[str] = set()
        self.taken: deque[Waiting] = deque(maxlen=TAKEN_MOST)
        """The latest messages taken, without their data; `due_s` is when."""
        self._targets = {target.name: target for target in targets}
        self._records = records
        self._secrets = secrets
        self._hooks = hooks
        self._clock = clock
        self._sweep_s = 0.0
        self._deaf: set[str] = set()
        """Targets that did not take a message in this step: they are offered no more of them until the next."""
        self._task: asyncio.Task[None] | None = None

    @property
    def targets(self) -> tuple[Target, ...]:
        """Whom it tells."""
        return tuple(self._targets.values())

    @property
    def unread(self) -> int:
        """Return how many rows could not be read; no more than `UNREAD_MOST` are counted."""
        return len(self._unread)

    def start(self) -> None:
        """Begin to post; once, on the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._post_forever(), name="webhooks")

    async def close(self) -> None:
        """Post no more; what waits is posted after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def writes(self, message: Message, *, to: str = "") -> list[Write]:
        """Return the rows that make a message wait, one for each target that is told of its organisation; `to` names
        the only one that is told, and then only if it names the organisation.
        """
        waiting = (
            Waiting(target=target.name, message=message, due_s=self._clock.wall_s())
            for target in self._targets.values()
            if (message.org in target.orgs and target.name == to)
            or (not to and (not target.orgs or message.org in target.orgs))
        )
        return [_write(new_id("msg_"), each, "waiting", expected=0) for each in waiting]

    async def send(self, message: Message) -> int:
        """Make a message wait that tells of nothing else; returns for how many targets."""
        writes = self.writes(message)
        if writes:
            await self._records.transact(writes)
        return len(writes)

    async def waiting(self, *, dead: bool = False, org: str = "", limit: int = 100) -> list[Waiting]:
        """Return the latest of what waits, or of what was given up, oldest first: about one organisation, or about all
        where none is named. No more than the first 100,000 are looked through.
        """
        latest: deque[Row] = deque(maxlen=limit)
        async for rows in self._pages("dead" if dead else "waiting", org):
            latest.extend(rows)
        return [each for each in map(self._read, latest) if each is not None]

    async def given_up(self) -> tuple[int, bool]:
        """Return how many messages were given up, as far as `waiting` looks, and whether there are more."""
        count, last = 0, ""
        async for rows in self._pages("dead", ""):
            count, last = count + len(rows), rows[-1].id
        more = await self._records.find("webhooks", PLATFORM, "state", "dead", after=last, limit=1)
        return count, bool(more)

    async def _pages(self, state: str, org: str) -> AsyncGenerator[Sequence[Row]]:
        """Yield the rows in a state, of one organisation or of all, oldest first: up to 100,000, a page at a time."""
        index, value = ("state+org", f"{state}|{org}") if org else ("state", state)
        after = ""
        for _ in range(LISTING_PAGES):
            rows = await self._records.find(
                "webhooks", PLATFORM, index, value, after=after, limit=LISTING_PAGE
            )
            if rows:
                yield rows
            if len(rows) < LISTING_PAGE:
                return
            after = rows[-1].id

    async def _post_forever(self) -> None:
        while True:
            try:
                await self.step()
            except Exception as error:  # because whatever it is, the rows wait and are tried again
                unexpected = not isinstance(error, PenstockError)
                _log.warning("webhooks wait: %s", error, exc_info=unexpected)
            await asyncio.sleep(EVERY_S)

    async def step(self) -> None:
        """Try each message that is due once, unless its target took none before it; now and then forget the dead of a
        month ago.
        """
        self._deaf.clear()
        await self._each("waiting", self._offer)
        if self._clock.monotonic_s() >= self._sweep_s:
            self._sweep_s = self._clock.monotonic_s() + SWEEP_S
            await self._each("dead", self._bury)

    async def _each(self, state: str, work: Callable[[Row, Waiting], Awaitable[None]]) -> None:
        """Do something about every row in a state, a page of them at a time."""
        after = ""
        while rows := await self._records.find("webhooks", PLATFORM, "state", state, after=after, limit=PAGE):
            after = rows[-1].id
            read = [(row, self._read(row)) for row in rows]
            doing = [work(row, each) for row, each in read if each is not None]
            results = await asyncio.gather(*doing, return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException) and not isinstance(result, StaleVersion):
                    raise result  # a stale row is another process's business

    def _read(self, row: Row) -> Waiting | None:
        """Return what a row holds; None for one that cannot be read, which is counted and told of once."""
        try:
            return msgspec.json.decode(row.value, type=Waiting)
        except msgspec.DecodeError:
            if row.id not in self._unread and len(self._unread) < UNREAD_MOST:
                self._unread.add(row.id)
                _log.error("the message %s of a webhook cannot be read; it is left where it is", row.id)
            return None

    async def _bury(self, row: Row, each: Waiting) -> None:
        if each.due_s + DEAD_S <= self._clock.wall_s():
            await self._records.transact([_gone(row.id, row.version)])

    async def _offer(self, row: Row, each: Waiting) -> None:
        """Lease a message that is due, so that no other process posts it meanwhile, and try it."""
        now_s = self._clock.wall_s()
        if each.due_s > now_s or each.target in self._deaf:
            return
        leased = msgspec.structs.replace(each, due_s=now_s + LEASE_S, attempts=each.attempts + 1)
        (version,) = await self._records.transact([_write(row.id, leased, "waiting", expected=row.version)])
        await self._try(row.id, leased, version)

    async def _try(self, id: str, each: Waiting, version: int) -> None:
        """Post a message that is leased, and note what became of it."""
        failure = await self._post(id, each)
        if not failure:
            self.delivered += 1
            self.taken.append(_taken(each, self._clock.wall_s()))
            await self._records.transact([_gone(id, version)])
            return
        self.failures += 1
        self._deaf.add(each.target)
        now_s = self._clock.wall_s()
        is_dead = each.attempts >= ATTEMPTS_MOST
        pause_s = 0.0 if is_dead else min(PAUSE_S * 2 ** (each.attempts - 1), PAUSE_MOST_S)
        noted = msgspec.structs.replace(each, due_s=now_s + pause_s, failure=failure)
        await self._records.transact([_write(id, noted, "dead" if is_dead else "waiting", expected=version)])
        if is_dead:
            self.dead += 1
            _log.error("webhook %s gave up on %s: %s", each.target, each.message.type, failure)

    async def _post(self, id: str, each: Waiting) -> str:
        """Post a message; returns why nobody took it, "" when somebody did."""
        target = self._targets.get(each.target)
        if target is None:
            return "no such target is configured"
        message = {"text": each.message.text} if target.form == "slack" else each.message
        body = msgspec.json.encode(message)
        at_s = int(self._clock.wall_s())
        headers = {
            "content-type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": str(at_s),
        }
        try:
            if target.secret:
                secret = await self._secrets.read(target.secret)
                headers["webhook-signature"] = signature(secret.reveal(), id, at_s, body)
            status = await self._hooks.post(target.url, headers, body)
        except PenstockError as error:
            return error.message
        except ValueError:
            return "the secret after whsec_ is not base64"
        return "" if 200 <= status < 300 else f"the answer was {status}"


def _write(id: str, each: Waiting, state: str, *, expected: int) -> Write:
    value = msgspec.json.encode(each)
    if not expected and len(value) > BODY_BYTES:  # what waits already may grow by its failures
        raise Unavailable("The message of a webhook is too large.", value=len(value), limit=BODY_BYTES)
    return Write(
        collection="webhooks",
        tenant=PLATFORM,
        id=id,
        value=value,
        indexed={"state": state, "state+org": f"{state}|{each.message.org}"},
        expected=expected,
    )


def _taken(each: Waiting, at_s: float) -> Waiting:
    """Return a message as it is remembered once somebody took it: its words, not its data."""
    message = msgspec.structs.replace(each.message, data=msgspec.Raw(b"null"))
    return msgspec.structs.replace(each, message=message, due_s=at_s, failure="")


def _gone(id: str, version: int) -> Write:
    return Write(collection="webhooks", tenant=PLATFORM, id=id, value=None, expected=version)
