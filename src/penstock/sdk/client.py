"""The client of a running Penstock: everything the platform does, typed.

    async with Client("http://127.0.0.1:8700", key) as client:
        answer = await client.chat.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}])
        async with client.chat.stream(model="gpt-4o-mini", messages=[…]) as stream:
            async for chunk in stream: …

Promises: every method is one route (lists page through it); a refused call raises the kernel error that the server
raised; every call is bounded in time and size; no key is in any error or repr. `sdk/blocking.py` is the same without
`async`.
"""

from __future__ import annotations

from typing import Final, Self

from penstock.kernel.errors import Invalid
from penstock.sdk.calls import Calls
from penstock.sdk.nouns.cache import CacheCalls
from penstock.sdk.nouns.chat import ChatCalls, ModelCalls
from penstock.sdk.nouns.contents import ContentCalls
from penstock.sdk.nouns.keys import KeyCalls
from penstock.sdk.nouns.knowledge import CollectionCalls, EmbeddingCalls
from penstock.sdk.nouns.money import BudgetCalls, LedgerCalls, PriceCalls, ScopeCalls, UsageCalls
from penstock.sdk.nouns.oversight import AlertCalls, AuditCalls, InvoiceCalls
from penstock.sdk.nouns.people import ChangeCalls, PeopleCalls, SessionCalls
from penstock.sdk.nouns.routing import RoutingCalls
from penstock.sdk.nouns.sight import CostCalls, OverviewCalls, RequestCalls, SettingCalls
from penstock.sdk.people import Me
from penstock.sdk.replies import Status
from penstock.sdk.transport import HttpTransport, Transport

HERE: Final = "http://127.0.0.1:8700"
"""Where `penstock up` listens."""


class Client(Calls):
    """A client under one key, session or token of a machine."""

    def __init__(self, base_url: str = "", key: str = "", *, transport: Transport | None = None) -> None:
        """Reach the server at `base_url` ("" is `HERE`) under `key`, or go through `transport`.

        Either is closed with the client. Raises Invalid for a URL or key that cannot be one.
        """
        if transport is not None and (base_url or key):
            raise Invalid(
                "A transport has its own address and key.", field="transport", remedy="Give either."
            )
        super().__init__(transport or HttpTransport(base_url or HERE, key))
        way = self._transport
        self.chat = ChatCalls(way)
        self.models = ModelCalls(way)
        self.collections = CollectionCalls(way)
        self.embeddings = EmbeddingCalls(way)
        self.keys = KeyCalls(way)
        self.scopes = ScopeCalls(way)
        self.budgets = BudgetCalls(way)
        self.usage = UsageCalls(way)
        self.prices = PriceCalls(way)
        self.ledger = LedgerCalls(way)
        self.cache = CacheCalls(way)
        self.people = PeopleCalls(way)
        self.sessions = SessionCalls(way)
        self.changes = ChangeCalls(way)
        self.requests = RequestCalls(way)
        self.contents = ContentCalls(way)
        self.costs = CostCalls(way)
        self.overview = OverviewCalls(way)
        self.settings = SettingCalls(way)
        self.routing = RoutingCalls(way)
        self.audit = AuditCalls(way)
        self.alerts = AlertCalls(way)
        self.invoices = InvoiceCalls(way)

    async def __aenter__(self) -> Self:
        """Use as a context."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Let every connection go; whatever is under way ends."""
        await self._transport.close()

    def under(self, token: str, peer: str = "") -> Client:
        """Return a client of the same platform under another token ("" for none); it lives as long as this one.

        `peer` is the address of whoever is acted for; it is believed only inside the process.
        """
        return Client(transport=self._transport.under(token, peer=peer))

    async def me(self) -> Me:
        """Return who this client is, and what they may do."""
        return await self._ask("GET", "/me", Me)

    async def status(self) -> Status:
        """Return how the platform is."""
        return await self._ask("GET", "/status", Status)
