"""What the contract suites do not try: which case on which adapter, and the harm that would have been needed.

Promise: the list is exact. A case that is not tried and not listed fails, so that a harness which loses a harm cannot
make its cases pass by looking at nothing; a case that is listed and was tried after all fails too, until it is taken
off the list.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from penstock.contracts import (
    blobs,
    cache,
    encoder,
    index,
    ledger,
    parsers,
    providers,
    records,
    secrets,
    signals,
    spans,
    state,
    stream,
    tables,
    traces,
)
from penstock.contracts.case import Case, Contract, NotTried

ADAPTERS: Final[dict[str, tuple[Contract, ...]]] = {
    "blobs/embedded": (blobs.CASES,),
    "cache/embedded": (cache.CASES,),
    "cache/redis": (cache.CASES,),
    "encoder/openvino": (encoder.CASES,),
    "index/embedded": (index.CASES,),
    "index/postgres": (index.CASES,),
    "ledger/sqlite": (ledger.CASES,),
    "ledger/postgres": (ledger.CASES,),
    "parsers/isolated": (parsers.CASES,),
    "providers/openai": (providers.CASES, providers.FAULTS),
    "providers/anthropic": (providers.CASES, providers.FAULTS),
    "providers/gemini": (providers.CASES, providers.FAULTS),
    "providers/scripted": (providers.CASES, providers.FAULTS),
    "providers/local": (providers.CASES,),
    "records/sqlite": (records.CASES,),
    "records/postgres": (records.CASES,),
    "secrets/embedded": (secrets.CASES,),
    "signals/embedded": (signals.CASES,),
    "signals/redis": (signals.CASES,),
    "spans/otlp": (spans.CASES,),
    "state/embedded": (state.CASES,),
    "state/redis": (state.CASES,),
    "stream/embedded": (stream.CASES,),
    "tables/duckdb": (tables.CASES,),
    "traces/sqlite": (traces.CASES,),
    "traces/postgres": (traces.CASES,),
}
"""Every adapter that a suite puts to its contract, and the contracts that it is put to."""

NOT_TRIED: Final[dict[tuple[str, str], str]] = {
    # In one process a signal is handed over by a call: there is no line that could lose it.
    ("signals/embedded", "a_lost_message_is_only_late"): signals.LOSE,
    # What a Redis holds is bounded by its own maxmemory; tests/contracts/test_cache.py has one evict on a small one.
    ("cache/redis", "the_least_recently_used_go_first"): "know what the cache is bound to",
    ("cache/redis", "what_is_put_anew_does_not_add_up"): "know what the cache is bound to",
    # A process that ends takes nothing of it along, and leaves no file to damage.
    ("cache/redis", "what_survives_a_restart_is_whole"): cache.RESTART,
    ("cache/redis", "a_crash_brings_nothing_back"): cache.RESTART,
    # A script has no vendor that sends ahead of its reader: each piece is made when it is asked for.
    ("providers/scripted", "an_answer_nobody_reads_does_not_pile_up"): "measure what waits unread",
}
"""(adapter, case) → what its harness cannot do. The suites fail on any other, and on one that is tried after all."""


async def tried(adapter: str, case: Case, work: Awaitable[None]) -> None:
    """Await the `work` of running `case` on `adapter`; raise when it was not tried, unless just that is listed.

    Raises AssertionError for a listed case that was tried, and KeyError for an adapter that is not known here.
    """
    assert case in [known for contract in ADAPTERS[adapter] for _, _, known in contract.cases]
    listed = NOT_TRIED.get((adapter, case.__name__))
    try:
        await work
    except NotTried as untried:
        if str(untried) != listed:
            raise
    else:
        assert listed is None, f"{case.__name__} is tried on {adapter} now: take it off the list"
