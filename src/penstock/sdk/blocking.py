"""The client without `async`: the same calls, made on a background thread.

    with BlockingClient("http://127.0.0.1:8700", key) as client:
        answer = client.chat.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}])
        with client.chat.stream(model="gpt-4o-mini", messages=[…]) as stream:
            for chunk in stream: …

Promises: those of `sdk/client.py` and of `sdk/background.py`.
Written by scripts/blocking_client.py: change the async client, then run that.
"""

from __future__ import annotations

from typing import Self

from penstock.sdk.background import Background
from penstock.sdk.blocking_knowledge import BlockingCollectionCalls, BlockingEmbeddingCalls
from penstock.sdk.blocking_nouns import (
    BlockingAlertCalls,
    BlockingAuditCalls,
    BlockingBudgetCalls,
    BlockingCacheCalls,
    BlockingChangeCalls,
    BlockingContentCalls,
    BlockingCostCalls,
    BlockingInvoiceCalls,
    BlockingKeyCalls,
    BlockingLedgerCalls,
    BlockingModelCalls,
    BlockingPeopleCalls,
    BlockingPriceCalls,
    BlockingScopeCalls,
    BlockingSessionCalls,
    BlockingSettingCalls,
    BlockingUsageCalls,
)
from penstock.sdk.blocking_streamed import (
    BlockingChatCalls,
    BlockingOverviewCalls,
    BlockingRequestCalls,
    BlockingRoutingCalls,
)
from penstock.sdk.client import Client
from penstock.sdk.people import Me
from penstock.sdk.replies import Status


class BlockingClient:
    """A client under one key, session or token of a machine."""

    def __init__(
        self,
        base_url: str = "",
        key: str = "",
        *,
        client: Client | None = None,
        beside: Background | None = None,
    ) -> None:
        """Reach the server at `base_url` under `key`; or use `client`, which then nobody else may use.

        `beside` is the background of another client to share; see `under`. Raises Invalid as `Client` does.
        """
        self._client = client or Client(base_url, key)
        self._background = background = beside or Background(self._client.close)
        self._is_own = beside is None
        self.chat = BlockingChatCalls(background, self._client.chat)
        self.models = BlockingModelCalls(background, self._client.models)
        self.collections = BlockingCollectionCalls(background, self._client.collections)
        self.embeddings = BlockingEmbeddingCalls(background, self._client.embeddings)
        self.keys = BlockingKeyCalls(background, self._client.keys)
        self.scopes = BlockingScopeCalls(background, self._client.scopes)
        self.budgets = BlockingBudgetCalls(background, self._client.budgets)
        self.usage = BlockingUsageCalls(background, self._client.usage)
        self.prices = BlockingPriceCalls(background, self._client.prices)
        self.ledger = BlockingLedgerCalls(background, self._client.ledger)
        self.cache = BlockingCacheCalls(background, self._client.cache)
        self.people = BlockingPeopleCalls(background, self._client.people)
        self.sessions = BlockingSessionCalls(background, self._client.sessions)
        self.changes = BlockingChangeCalls(background, self._client.changes)
        self.requests = BlockingRequestCalls(background, self._client.requests)
        self.contents = BlockingContentCalls(background, self._client.contents)
        self.costs = BlockingCostCalls(background, self._client.costs)
        self.overview = BlockingOverviewCalls(background, self._client.overview)
        self.settings = BlockingSettingCalls(background, self._client.settings)
        self.routing = BlockingRoutingCalls(background, self._client.routing)
        self.audit = BlockingAuditCalls(background, self._client.audit)
        self.alerts = BlockingAlertCalls(background, self._client.alerts)
        self.invoices = BlockingInvoiceCalls(background, self._client.invoices)

    def __enter__(self) -> Self:
        """Use as a context."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Let every connection go; whatever is under way ends."""
        if self._is_own:
            self._background.close()
        elif self._background.is_alive:
            self._background.run(self._client.close())

    def under(self, token: str, peer: str = "") -> BlockingClient:
        """Return a client of the same platform under another token ("" for none); it lives as long as this one.

        `peer` is the address of whoever is acted for; it is believed only inside the process.
        """
        return BlockingClient(client=self._client.under(token, peer), beside=self._background)

    def me(self) -> Me:
        """Return who this client is, and what they may do."""
        return self._background.run(self._client.me())

    def status(self) -> Status:
        """Return how the platform is."""
        return self._background.run(self._client.status())
