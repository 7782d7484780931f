"""Opens what is done about conversations that are too long, where the settings have rules for them.

Promise: a deployment without rules opens nothing; summaries are kept in the cache of answers, or, without one, in a
small one of this process's own.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import NamedTuple

from penstock.dialects.codecs import CODECS
from penstock.gateway.admission import Admission
from penstock.gateway.cached_answers import CachedAnswers
from penstock.gateway.context_care import ContextCare, Windows
from penstock.gateway.summaries import Summaries
from penstock.gateway.summariser import Summariser
from penstock.gateway.summary_care import SummaryCare
from penstock.gateway.wording import Wordings
from penstock.kernel.clock import Clock
from penstock.kernel.errors import Invalid
from penstock.kernel.settings import CacheSettings, ContextSettings, Settings
from penstock.mechanisms.resilience import Resilience
from penstock.mechanisms.token_lengths import TokenLengths
from penstock.ports.secrets import Secrets
from penstock.ports.signals import Signals
from penstock.wiring.answers import open_cache
from penstock.wiring.catalogue import Catalogue
from penstock.wiring.pepper import load_pepper
from penstock.wiring.tenants import by_tenant

OWN_BYTES = 16 * 1024 * 1024


class ContextRungs(NamedTuple):
    """`first` truncates before anybody reads a request, `last` summarises what may leave; either may be missing."""

    windows: Windows | None = None
    first: tuple[ContextCare, ...] = ()
    last: tuple[SummaryCare, ...] = ()


class Vendors(NamedTuple):
    """Who may be asked for a summary, within which money and policy, and where it is kept."""

    catalogue: Catalogue
    admission: Admission
    resilience: Resilience
    answers: CachedAnswers | None


async def open_context(
    settings: Settings,
    vendors: Vendors,
    signals: Signals,
    kept: Secrets,
    clock: Clock,
    opening: AsyncExitStack,
) -> ContextRungs:
    """Open what the rules need; `opening` closes it. Raises Invalid for rules that cannot be, Unavailable."""
    if not settings.context:
        return ContextRungs()
    lengths = TokenLengths()
    windows = Windows(by_tenant("context", settings.context, _checked), lengths)
    first = ContextCare(windows)
    if not any(row.summary_model for row in settings.context):
        return ContextRungs(windows, (first,))
    if vendors.answers is None:
        own = CacheSettings(url="memory:", bytes=OWN_BYTES)
        cache = await open_cache(own, await load_pepper(kept, settings), signals, clock, opening)
    else:
        cache = vendors.answers.cache
    summariser = Summariser(
        routes=vendors.catalogue.current,
        wordings=Wordings(CODECS, clock),
        admission=vendors.admission,
        resilience=vendors.resilience,
        loads=vendors.catalogue.loads,
        lengths=lengths,
    )
    summaries = Summaries(cache, summariser, frozenset(settings.cache.opted_out))
    return ContextRungs(windows, (first,), (SummaryCare(first, summaries),))


def _checked(field: str, row: ContextSettings) -> ContextSettings:
    if row.on_overflow == "summarise" and not row.summary_model:
        raise Invalid("Who summarises?", field=f"{field}.summary_model", remedy="Name a public model.")
    return row
