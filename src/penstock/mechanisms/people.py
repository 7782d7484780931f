"""People: invited by a link used once, signed in by password or OIDC, changed only by whoever outranks them.

Promises: a link is 256 random bits, stored as a keyed digest, and opens once, whoever else tries at the same time;
the newest link of a person is the only one; a first owner comes by a link that is made only while there is no active
owner; a wrong password, an unknown email and a disabled person look and cost the same; attempts are limited per email
and per peer before anything is hashed; nobody grants a role above their own or acts outside their reach; every change
is audited in its own transaction; disabling somebody, or setting a password, ends that person's sessions.
"""

from __future__ import annotations

import hmac

import msgspec

from penstock.kernel.clock import Clock
from penstock.kernel.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    OverLimit,
    StaleVersion,
    Unauthenticated,
)
from penstock.kernel.ids import new_id, secret_token
from penstock.mechanisms.changes import PLATFORM, THE_PLATFORM, Author, Told, change_write
from penstock.mechanisms.news import News
from penstock.mechanisms.passwords import Passwords, check_new
from penstock.mechanisms.persons import (
    Link,
    Person,
    checked_name,
    checked_role,
    folded_email,
    link_write,
    oidc_index,
    person_of,
    person_write,
    tries,
)
from penstock.mechanisms.roles import Action, may, may_grant, reach_of
from penstock.ports.records import Records, Row, Write
from penstock.ports.state import Ask, State

OWNER_LINK = "owner"
LINK_START = "penl-"
LINK_LIFE_S = 3 * 86_400.0


class People:
    """The directory of people. One per process."""

    def __init__(
        self, records: Records, state: State, clock: Clock, passwords: Passwords, *, news: News, pepper: bytes
    ) -> None:
        """`news` is told of every change; `pepper` is at least 32 secret bytes that never change."""
        if len(pepper) < 32:
            raise Invalid("The pepper is too short.", field="pepper", value=len(pepper), limit=32)
        self._records = records
        self._state = state
        self._clock = clock
        self._passwords = passwords
        self._news = news
        self._key = hmac.digest(pepper, b"one-time links", "sha256")

    # --- finding ---------------------------------------------------------------------------------------------------

    async def person(self, id: str) -> Person | None:
        """Return one person, or None."""
        row = await self._records.get("people", PLATFORM, id)
        return None if row is None else person_of(row)

    async def by_email(self, email: str) -> Person | None:
        """Return whoever has this email address, whatever its case, or None."""
        row = await self._found("email", folded_email(email))
        return None if row is None else person_of(row)

    async def of_org(self, org: str, *, after: str = "", limit: int = 100) -> list[Person]:
        """Return a page of an organisation's people, in order of their ids."""
        rows = await self._records.find("people", PLATFORM, "org", org, after=after, limit=limit)
        return [person_of(row) for row in rows]

    async def has_owner(self) -> bool:
        """Tell whether there is an active owner."""
        return bool(await self._records.find("people", PLATFORM, "standing", "owner/active", limit=1))

    # --- coming in -------------------------------------------------------------------------------------------------

    async def invite(
        self, by: Author, email: str, name: str, role: str, *, org: str, team: str
    ) -> tuple[Person, str]:
        """Add a person and return them with the token of their link, shown only now; Conflict(duplicate)."""
        person = Person(
            id=new_id("per_"),
            org=org,
            team=team,
            email=folded_email(email),
            name=checked_name(name),
            role=checked_role(role),
            created_s=self._clock.wall_s(),
        )
        _must_command(by, person)
        token, link = self._minted(person.id)
        await self._commit(by, "person.invite", None, person, 0, link_write(person.id, link))
        return person, token

    async def invite_again(self, by: Author, id: str) -> str:
        """Return a new link for somebody invited, or for somebody who forgot the password; earlier links end."""
        row, person = await self._commanded(by, id)
        if person.state == "disabled":
            raise Conflict("This person is disabled.", code="disabled", field="person", value=id)
        token, link = self._minted(id)
        await self._commit(by, "person.link", person, person, row.version, link_write(id, link))
        return token

    async def owner_link(self) -> str | None:
        """Return the token of the link by which the first owner comes in, or None when there is an active owner."""
        if await self.has_owner():
            return None
        token, link = self._minted(OWNER_LINK)
        await self._records.transact([link_write(OWNER_LINK, link)])
        return token

    async def claim_ownership(
        self, token: str, email: str, name: str, password: str, *, org: str, team: str, peer: str
    ) -> Person:
        """Become the first owner by the owner's link. Unauthenticated when it was used, replaced, ended or guessed."""
        link = await self._opened(token, peer)
        if link.id != OWNER_LINK or await self.has_owner():
            raise _no_link()
        now_s = self._clock.wall_s()
        person = Person(
            id=new_id("per_"),
            org=org,
            team=team,
            email=folded_email(email),
            name=checked_name(name),
            role="owner",
            state="active",
            created_s=now_s,
            last_seen_s=now_s,
        )
        check_new(password, person.email, person.name)
        person = msgspec.structs.replace(person, password_hash=await self._passwords.hash(password))
        await self._used(link, THE_PLATFORM, "person.claim-ownership", None, person, 0)
        return person

    async def accept(self, token: str, password: str, *, peer: str) -> Person:
        """Set the password by a link, ending every session there was. Unauthenticated as in `claim_ownership`."""
        link = await self._opened(token, peer)
        row = await self._records.get("people", PLATFORM, link.id)
        if row is None or person_of(row).state == "disabled":
            raise _no_link()
        before = person_of(row)
        check_new(password, before.email, before.name)
        hashed = await self._passwords.hash(password)
        after = msgspec.structs.replace(
            before,
            state="active",
            password_hash=hashed,
            epoch=before.epoch + 1,
            last_seen_s=self._clock.wall_s(),
        )
        await self._used(link, _author(before, peer), "person.accept", before, after, row.version)
        return after

    async def sign_in(self, email: str, password: str, *, peer: str) -> Person:
        """Return the active person with this email and password; Unauthenticated, OverLimit, Overloaded."""
        try:
            folded = folded_email(email)
        except Invalid:
            folded = ""
        asks = tries(peer, folded)
        await self._try(asks)
        row = await self._found("email", folded) if folded else None
        person = None if row is None else person_of(row)
        stored = person.password_hash if person is not None and person.state == "active" else ""
        matched = await self._passwords.check(stored, password)
        if row is None or person is None or not matched:
            raise Unauthenticated("The email address or the password is wrong.", code="wrong_password")
        await self._state.give_back(asks, person.id)
        return await self._seen(row, person, password)

    async def sign_in_by_oidc(self, issuer: str, subject: str, email: str = "") -> Person:
        """Return the active person with this subject; the first time, the one invited by this (verified) `email`.

        Only somebody invited and without a password is bound: whoever controls an address elsewhere takes over nobody.
        """
        row = await self._found("oidc", oidc_index(issuer, subject)) if issuer and subject else None
        if row is not None and person_of(row).state == "active":
            return await self._seen(row, person_of(row), "")
        invited = (
            await self._found("email", folded_email(email)) if row is None and subject and email else None
        )
        if invited is None or person_of(invited).state != "invited":
            raise Unauthenticated("Nobody here is known by this identity.", code="unknown_identity")
        before = person_of(invited)
        after = msgspec.structs.replace(
            before, state="active", oidc_issuer=issuer, oidc_subject=subject, last_seen_s=self._clock.wall_s()
        )
        author = _author(before, "")
        closed = link_write(before.id, None)
        await self._commit(author, "person.bind", before, after, invited.version, closed)
        return after

    async def attempt(self, peer: str) -> None:
        """Count an attempt to come in by other means than a password, before anything is spent on it; OverLimit."""
        await self._try(tries(peer))

    async def came_in(self, peer: str) -> None:
        """Give back an attempt that `attempt` counted: it was somebody we know."""
        await self._state.give_back(tries(peer), new_id("try_"))

    # --- changing --------------------------------------------------------------------------------------------------

    async def change(self, by: Author, id: str, *, role: str = "", team: str = "", name: str = "") -> Person:
        """Change what is given; felt by the person's sessions within a second. StaleVersion, Conflict(last_owner)."""
        row, before = await self._commanded(by, id)
        after = msgspec.structs.replace(
            before,
            role=checked_role(role) if role else before.role,
            team=team or before.team,
            name=checked_name(name) if name else before.name,
        )
        _must_command(by, after)
        await self._must_keep_an_owner(before, after)
        await self._commit(by, "person.change", before, after, row.version)
        return after

    async def disable(self, by: Author, id: str) -> Person:
        """Let somebody in no more: sessions and links end. StaleVersion, Conflict(last_owner)."""
        row, before = await self._commanded(by, id)
        after = msgspec.structs.replace(before, state="disabled", epoch=before.epoch + 1)
        await self._must_keep_an_owner(before, after)
        await self._commit(by, "person.disable", before, after, row.version, link_write(id, None))
        return after

    async def enable(self, by: Author, id: str) -> Person:
        """Let somebody disabled in again: as active when they ever came in, else as invited (send a new link)."""
        row, before = await self._commanded(by, id)
        if before.state != "disabled":
            raise Conflict("This person is not disabled.", code="not_disabled", field="person", value=id)
        came = before.password_hash or before.oidc_subject
        after = msgspec.structs.replace(before, state="active" if came else "invited")
        await self._commit(by, "person.enable", before, after, row.version)
        return after

    async def end_sessions(self, by: Author, id: str) -> Person:
        """End every session of somebody: of oneself, or of whom one commands."""
        row, before = await self._commanded(by, id) if by.id != id else await self._read(id)
        after = msgspec.structs.replace(before, epoch=before.epoch + 1)
        await self._commit(by, "person.end-sessions", before, after, row.version)
        return after

    # --- inside ----------------------------------------------------------------------------------------------------

    async def _read(self, id: str) -> tuple[Row, Person]:
        row = await self._records.get("people", PLATFORM, id)
        if row is None:
            raise NotFound("There is no such person.", field="person", value=id)
        return row, person_of(row)

    async def _commanded(self, by: Author, id: str) -> tuple[Row, Person]:
        row, person = await self._read(id)
        if not reach_of(by.principal()).holds(person.org, person.team, person.id):
            raise NotFound("There is no such person.", field="person", value=id)
        _must_command(by, person)
        return row, person

    async def _found(self, index: str, value: str) -> Row | None:
        rows = await self._records.find("people", PLATFORM, index, value, limit=1)
        return rows[0] if rows else None

    async def _must_keep_an_owner(self, before: Person, after: Person) -> None:
        if (before.role, before.state) != ("owner", "active") or (after.role, after.state) == (
            "owner",
            "active",
        ):
            return
        if len(await self._records.find("people", PLATFORM, "standing", "owner/active", limit=2)) < 2:
            raise Conflict(
                "This is the last active owner.", code="last_owner", remedy="Make another owner first."
            )

    async def _commit(
        self, by: Author, action: str, before: Person | None, after: Person, expected: int, *also: Write
    ) -> None:
        told = Told(
            action=action, subject=after.id, org=after.org, team=after.team, before=before, after=after
        )
        change = change_write(by, told, self._clock.wall_s())
        await self._records.transact([person_write(after, expected), change, *also])
        await self._news.tell()

    async def _try(self, asks: list[Ask]) -> None:
        taken = await self._state.take(asks, new_id("try_"))
        if taken.refused >= 0:
            raise OverLimit("Too many attempts. Wait and try again.", retry_after_s=taken.retry_after_s)

    async def _seen(self, row: Row, person: Person, password: str) -> Person:
        """Note the visit, and hash anew what was hashed at another cost; whoever changes the person meanwhile wins."""
        after = msgspec.structs.replace(person, last_seen_s=self._clock.wall_s())
        if password and self._passwords.is_stale(person.password_hash):
            after = msgspec.structs.replace(after, password_hash=await self._passwords.hash(password))
        try:
            await self._records.transact([person_write(after, row.version)])
        except StaleVersion:
            now = await self.person(person.id)
            if now is None or now.state != "active" or now.password_hash != person.password_hash:
                raise
            return now
        return after

    # --- links -----------------------------------------------------------------------------------------------------

    def _minted(self, id: str) -> tuple[str, Link]:
        token = f"{LINK_START}{id}-{secret_token(256)}"
        return token, Link(mac=self._mac(token), expires_s=self._clock.wall_s() + LINK_LIFE_S)

    def _mac(self, token: str) -> str:
        return hmac.digest(self._key, token.encode(errors="replace"), "sha256").hex()

    async def _opened(self, token: str, peer: str) -> Row:
        """Return the row of a link that may be used, or raise Unauthenticated."""
        await self._try(tries(peer))
        id = token[len(LINK_START) :].partition("-")[0]
        if not token.startswith(LINK_START) or not id or len(token) > 256:
            raise _no_link()
        row = await self._records.get("links", PLATFORM, id)
        if row is None:
            raise _no_link()
        link = msgspec.json.decode(row.value, type=Link)
        if not hmac.compare_digest(link.mac, self._mac(token)) or self._clock.wall_s() >= link.expires_s:
            raise _no_link()
        return row

    async def _used(
        self, link: Row, by: Author, action: str, before: Person | None, after: Person, expected: int
    ) -> None:
        """Commit what a link opened; of two who use it at once one wins, the other finds it used."""
        try:
            await self._commit(by, action, before, after, expected, link_write(link.id, None, link.version))
        except StaleVersion:
            raise _no_link() from None


def _must_command(by: Author, person: Person) -> None:
    """Raise Forbidden unless `by` may write people, reaches this one, and may give the role they have."""
    principal = by.principal()
    inside = reach_of(principal).holds(person.org, person.team, person.id)
    if not (inside and may(by.role, Action.WRITE_PEOPLE) and may_grant(by.role, person.role)):
        raise Forbidden("Your role does not reach this person.", field="role", value=by.role)


def _author(person: Person, peer: str) -> Author:
    return Author(
        kind="person",
        id=person.id,
        name=person.name,
        role=person.role,
        org=person.org,
        team=person.team,
        user=person.id,
        peer=peer,
    )


def _no_link() -> Unauthenticated:
    return Unauthenticated(
        "This link was used, replaced or has ended.", code="link_used", remedy="Ask for a new one."
    )
