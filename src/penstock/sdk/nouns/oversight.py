"""Oversight: the audit of requests, alerts, and invoices."""

from __future__ import annotations

from penstock.sdk.calls import Calls
from penstock.sdk.oversight import (
    AlertRule,
    Alerts,
    AuditAnswer,
    AuditLake,
    AuditQuery,
    Deliveries,
    Invoice,
    Reconciled,
    Tried,
)


class AuditCalls(Calls):
    """The audit of requests, in SQL."""

    async def about(self, org: str = "") -> AuditLake:
        """Return whether records are kept, and from when to when."""
        return await self._ask("GET", "/audit", AuditLake, query={"org": org})

    async def query(self, request: AuditQuery) -> AuditAnswer:
        """Answer one SELECT about the table `audit`. Raises Invalid, NotFound where there is no lake, Overloaded."""
        return await self._ask("POST", "/audit/query", AuditAnswer, body=request)


class AlertCalls(Calls):
    """Alerts."""

    async def list(self, org: str = "") -> Alerts:
        """Return what stands and the latest of what was resolved; owners who name no one get all."""
        return await self._ask("GET", "/alerts", Alerts, query={"org": org})

    async def rules(self) -> tuple[AlertRule, ...]:
        """Return every rule as it is in force."""
        return await self._ask("GET", "/alerts/rules", tuple[AlertRule, ...])

    async def deliveries(self, org: str = "") -> Deliveries:
        """Return who is told of an organisation, and the latest messages; owners who name no one see everybody."""
        return await self._ask("GET", "/alerts/deliveries", Deliveries, query={"org": org})

    async def test(self, org: str = "") -> Tried:
        """Send a message to everybody who is told of an organisation."""
        return await self._ask("POST", "/alerts/test", Tried, query={"org": org})


class InvoiceCalls(Calls):
    """Invoices of vendors."""

    async def reconcile(self, request: Invoice) -> Reconciled:
        """Compare an invoice with what was settled on its days. Raises Invalid naming the line that is none."""
        return await self._ask("POST", "/reconcile", Reconciled, body=request)
