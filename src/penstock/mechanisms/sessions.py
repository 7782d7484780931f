"""Sessions of people: server-side, known in memory, ended everywhere within a second.

Promises: a token is 256 random bits, shown once, stored as a keyed digest only; each sign-in makes a new one and ends
the one presented (no fixation); a session ends `idle_s` after its last use (recorded once a minute, so up to `TOUCH_S`
early, never late), at `absolute_s` after its start, when it is revoked, and when its person is disabled, sets a
password or ends all; what is remembered is bounded; a person holds at most `MOST_PER_PERSON`; the CSRF token is an HMAC
of the session's, so it needs no storage and one session's is useless in another.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from hashlib import blake2b
from secrets import token_bytes
from typing import Any

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.context import Principal
from penstock.kernel.errors import Forbidden, Invalid, NotFound, StaleVersion, Unauthenticated
from penstock.kernel.ids import secret_token
from penstock.mechanisms.changes import PLATFORM, Author, Told, change_write
from penstock.mechanisms.news import News
from penstock.mechanisms.persons import Person, person_of
from penstock.mechanisms.tenancy import SESSION_IDS, Tenancy
from penstock.ports.records import Collection, Records, Row, Write
from penstock.ports.signals import Signals

COLLECTIONS = (Collection(name="sessions", indexes=("person",)),)
TOPIC = "people"
TOKEN_START = b"pens-"
TOKEN_BYTES = 48  # the start and 43 characters
PROJECT = "console"
TOUCH_S = 60.0
REMEMBERED = 20_000
MOST_PER_PERSON = 50
SHOWN_MOST = 200


class Lifetimes(msgspec.Struct, frozen=True):
    """How long a session lives: `idle_s` after its last use, `absolute_s` after its start at most."""

    idle_s: float = 8 * 3600.0
    absolute_s: float = 7 * 86_400.0


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A stored session. Times are seconds since 1970; `epoch` is its person's at sign-in."""

    id: str
    mac: str
    person: str
    epoch: int
    method: str
    created_s: float
    seen_s: float
    peer: str = ""
    agent: str = ""

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return what may be shown."""
        return [("id", self.id), ("person", self.person)]

    def __repr__(self) -> str:
        """Return which session this is, without its digest."""
        return f"Session(id={self.id!r}, person={self.person!r})"


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """A session that was checked: whose it is and what they may. `loaded_s` is monotonic."""

    principal: Principal
    session: Session
    person: Person
    loaded_s: float
    generation: int

    def author(self, request_id: str, peer: str) -> Author:
        """Return the visitor as the author of changes."""
        who = self.principal
        return Author(
            kind="person",
            id=self.person.id,
            name=self.person.name,
            role=who.role,
            org=who.org,
            team=who.team,
            user=who.user,
            request_id=request_id,
            peer=peer,
        )


class Sessions:
    """The directory of sessions. One per process; `news` is what People must tell of its changes."""

    def __init__(
        self,
        records: Records,
        signals: Signals,
        tenancy: Tenancy,
        clock: Clock,
        *,
        pepper: bytes,
        lifetimes: Lifetimes | None = None,
    ) -> None:
        """`pepper` is at least 32 secret bytes that never change."""
        if len(pepper) < 32:
            raise Invalid("The pepper is too short.", field="pepper", value=len(pepper), limit=32)
        self._records = records
        self._tenancy = tenancy
        self._clock = clock
        self._known = _Remembered()
        self.news = News(signals, TOPIC, clock, self._known.forget)
        self._lifetimes = lifetimes or Lifetimes()
        self._key = hmac.digest(pepper, b"sessions", "sha256")
        self._csrf_key = hmac.digest(pepper, b"csrf", "sha256")

    # --- looking up ------------------------------------------------------------------------------------------------

    def known(self, token: bytes) -> Visit | None:
        """Return the visit if it is in memory, fresh and alive; None asks for `visit`."""
        visit = self._known.get(token)
        if visit is None or not self.news.is_fresh(visit.loaded_s):
            return None
        if visit.generation != self._tenancy.generation:
            return None
        now_s = self._clock.wall_s()
        is_recorded = abs(now_s - visit.session.seen_s) < TOUCH_S
        return visit if is_recorded and self._is_alive(visit.session, visit.person) else None

    async def visit(self, token: bytes) -> Visit:
        """Return the visit behind a token, reading the store if need be; raise Unauthenticated."""
        found = self.known(token)
        if found is not None:
            return found
        if not token.startswith(TOKEN_START) or len(token) != TOKEN_BYTES:
            raise _signed_out()
        mac = self._mac(token)
        # Taken before reading: what changes meanwhile must not be remembered as it was.
        news, generation, loaded_s = (
            self._known.generation,
            self._tenancy.generation,
            self._clock.monotonic_s(),
        )
        row = await self._records.get("sessions", PLATFORM, _id_of(mac))
        session = None if row is None else _session_of(row)
        if row is None or session is None or not hmac.compare_digest(session.mac, mac):
            raise _signed_out()
        kept = await self._records.get("people", PLATFORM, session.person)
        person = None if kept is None else person_of(kept)
        if person is None or not self._is_alive(session, person):
            raise _signed_out()
        session = await self._touched(row, session)
        visit = Visit(
            principal=await self._principal(session, person),
            session=session,
            person=person,
            loaded_s=loaded_s,
            generation=generation,
        )
        if news == self._known.generation:
            self._known.put(token, visit)
        return visit

    async def of_person(self, person: str) -> list[Session]:
        """Return a person's living sessions, the latest used first."""
        kept = await self._records.get("people", PLATFORM, person)
        if kept is None:
            return []
        living = [each for each in await self._all(person) if self._is_alive(each, person_of(kept))]
        return sorted(living, key=lambda each: -each.seen_s)

    # --- opening and ending ----------------------------------------------------------------------------------------

    async def open(
        self, person: Person, *, method: str, peer: str = "", agent: str = "", replaces: bytes = b""
    ) -> tuple[Session, str]:
        """Begin a session of somebody who just signed in; returns it with its token, shown only now.

        The session of the token `replaces` (what the browser sent when it signed in) ends in the same step.
        """
        token = f"{TOKEN_START.decode()}{secret_token(256)}"
        mac, now_s = self._mac(token.encode()), self._clock.wall_s()
        session = Session(
            id=_id_of(mac),
            mac=mac,
            person=person.id,
            epoch=person.epoch,
            method=method,
            created_s=now_s,
            seen_s=now_s,
            peer=peer[:SHOWN_MOST],
            agent=agent[:SHOWN_MOST],
        )
        ending = await self._superfluous(person)
        if replaces:
            ending.add(_id_of(self._mac(replaces)))
        await self._records.transact([_write(session, 0), *(_removal(each) for each in sorted(ending))])
        if ending:
            await self.news.tell()
        return session, token

    async def revoke(self, by: Author, id: str, *, of: Person) -> None:
        """End one session of a person; NotFound when it is none of theirs. Who may is People's and roles' to say."""
        row = await self._records.get("sessions", PLATFORM, id)
        if row is None or _session_of(row).person != of.id:
            raise NotFound("There is no such session.", field="session", value=id)
        told = Told(
            action="session.revoke", subject=id, org=of.org, team=of.team, before=_session_of(row), after=None
        )
        await self._records.transact([_removal(id), change_write(by, told, self._clock.wall_s())])
        await self.news.tell()

    async def close(self, token: bytes) -> None:
        """Sign out: end the session of this token, if it is one."""
        await self._records.transact([_removal(_id_of(self._mac(token)))])
        await self.news.tell()

    async def watch(self) -> None:
        """Listen for changes of people and sessions until cancelled."""
        await self.news.watch()

    # --- against forged requests -----------------------------------------------------------------------------------

    def csrf_token(self, token: bytes) -> str:
        """Return what a form of this session must carry."""
        return hmac.digest(self._csrf_key, token, "sha256").hex()

    def check_csrf(self, token: bytes, given: str) -> None:
        """Raise Forbidden unless `given` is this session's CSRF token; takes the same time however much matches."""
        if not hmac.compare_digest(
            self.csrf_token(token).encode(), given[:SHOWN_MOST].encode(errors="replace")
        ):
            raise Forbidden("The form is not of this session.", code="csrf", remedy="Load the page again.")

    # --- inside ----------------------------------------------------------------------------------------------------

    def _mac(self, token: bytes) -> str:
        return hmac.digest(self._key, token, "sha256").hex()

    def _is_alive(self, session: Session, person: Person) -> bool:
        now_s, lives = self._clock.wall_s(), self._lifetimes
        if person.state != "active" or person.epoch != session.epoch:
            return False
        return now_s < session.seen_s + lives.idle_s and now_s < session.created_s + lives.absolute_s

    async def _principal(self, session: Session, person: Person) -> Principal:
        return Principal(
            key_id=session.id,
            org=person.org,
            team=person.team,
            project=PROJECT,
            user=person.id,
            role=person.role,
            scopes=await self._tenancy.scopes_of(person.org, person.team, PROJECT, person.id),
            expires_at_s=session.created_s + self._lifetimes.absolute_s,
        )

    async def _touched(self, row: Row, session: Session) -> Session:
        """Record the use once a minute; a session revoked meanwhile stays revoked."""
        now_s = self._clock.wall_s()
        if abs(now_s - session.seen_s) < TOUCH_S:
            return session
        after = msgspec.structs.replace(session, seen_s=now_s)
        try:
            await self._records.transact([_write(after, row.version)])
        except StaleVersion:
            again = await self._records.get("sessions", PLATFORM, session.id)
            if again is None:
                raise _signed_out() from None
            return _session_of(again)
        return after

    async def _all(self, person: str) -> list[Session]:
        rows = await self._records.find("sessions", PLATFORM, "person", person, limit=2 * MOST_PER_PERSON)
        return [_session_of(row) for row in rows]

    async def _superfluous(self, person: Person) -> set[str]:
        """Return the dead sessions of a person, and the longest unused above what one may hold with one more."""
        every = await self._all(person.id)
        living = sorted(
            (each for each in every if self._is_alive(each, person)), key=lambda each: -each.seen_s
        )
        kept = {each.id for each in living[: MOST_PER_PERSON - 1]}
        # A transaction admits 100 writes: the new session and the one replaced are two of them.
        return set(sorted({each.id for each in every} - kept)[:90])


class _Remembered:
    """The visits of this process: bounded, forgotten whole at each piece of news, and never under a plain token."""

    __slots__ = ("_key", "_visits", "generation")

    def __init__(self) -> None:
        """Start empty."""
        self._key = token_bytes(32)
        self._visits: OrderedDict[bytes, Visit] = OrderedDict()
        self.generation = 0

    def get(self, token: bytes) -> Visit | None:
        """Return the visit of a token, or None."""
        return self._visits.get(self._digest(token))

    def put(self, token: bytes, visit: Visit) -> None:
        """Remember a visit; the oldest goes when there are too many."""
        self._visits[self._digest(token)] = visit
        if len(self._visits) > REMEMBERED:
            self._visits.popitem(last=False)

    def forget(self) -> None:
        """Forget everything."""
        self.generation += 1
        self._visits.clear()

    def _digest(self, token: bytes) -> bytes:
        return blake2b(token, key=self._key, digest_size=16).digest()


def _id_of(mac: str) -> str:
    """Return a session's id: part of its digest, so that it is found by its token and tells nothing of it."""
    return f"{SESSION_IDS}{mac[:32]}"


def _session_of(row: Row) -> Session:
    return msgspec.json.decode(row.value, type=Session)


def _write(session: Session, expected: int) -> Write:
    return Write(
        collection="sessions",
        tenant=PLATFORM,
        id=session.id,
        value=msgspec.json.encode(session),
        indexed={"person": session.person},
        expected=expected,
    )


def _removal(id: str) -> Write:
    return Write(collection="sessions", tenant=PLATFORM, id=id, value=None)


def _signed_out() -> Unauthenticated:
    return Unauthenticated("This session has ended.", code="signed_out", remedy="Sign in again.")
