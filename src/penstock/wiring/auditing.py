"""What tells of requests for good: the audit pipe, and beside it the settlements for whoever bills.

Promise: without `audit.metering` nothing of the settlements is opened; what was opened is let go by the stack it was
given, the audit pipe before its listeners.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

from penstock.gateway import counting
from penstock.kernel.clock import Clock
from penstock.kernel.settings import Settings
from penstock.mechanisms.audit import AuditPipe, Listener
from penstock.mechanisms.metering import TOPIC, Metering
from penstock.wiring import tokenizing
from penstock.wiring.platform import Platform, Stores

DAY_S = 86_400
UNPAID = frozenset({counting.FLAG, tokenizing.FLAG})


def open_audit(
    settings: Settings, stores: Stores, clock: Clock, heard_by: tuple[Listener, ...], opening: AsyncExitStack
) -> tuple[AuditPipe, Metering | None]:
    """Open the audit pipe and the metering, if it is on; the pipe closes before its listeners, so that they hear of
    everything.
    """
    capacity, metering = settings.audit.buffer_records, None
    if settings.audit.metering:
        metering = Metering(stores.stream, clock, capacity=capacity, unpaid=UNPAID)
        metering.pipe.start()
        opening.push_async_callback(metering.pipe.close)
        heard_by = (*heard_by, metering)
    audit = AuditPipe(stores.stream, clock, capacity=capacity, listeners=heard_by)
    if metering is not None:
        audit.told_of_losses(metering.missed)
    audit.start()
    opening.push_async_callback(audit.close)
    return audit, metering


async def settle_in_doubt(platform: Platform) -> None:
    """Have the ledger settle what is in doubt, and tell of it."""
    settled = await platform.stores.ledger.expire()
    if platform.metering is not None:
        platform.metering.expired(settled)


async def trim(platform: Platform) -> None:
    """Forget the records that are past their time."""
    before_s = platform.clock.wall_s() - platform.settings.audit.retain_days * DAY_S
    for topic in ("audit", *((TOPIC,) if platform.metering is not None else ())):
        await platform.stores.stream.trim(topic, before_s)
