"""Seeded bugs between the caller and the provider: answers, retries, keys, limits, connections, what is accepted."""

from __future__ import annotations

from tests.evidence.seed import Seed
from tests.evidence.seeds_money import GATEWAY

RESILIENCE = ("tests/unit/mechanisms/test_resilience.py", "tests/journeys/test_faults_and_books.py")
TENANCY = ("tests/unit/mechanisms/test_tenancy.py",)

ANSWER_SEEDS = (
    Seed(
        "a broken stream is not closed",
        "whatever happens to an answer, one place lets the vendor go",
        "gateway/relay.py",
        "            answer.close()\n",
        "",
        GATEWAY,
    ),
    Seed(
        "an error is followed by the success mark",
        "an answer that ends badly ends without [DONE]",
        "gateway/relay.py",
        "client.finish(codec.render_error_event(told))",
        "client.finish(codec.render_error_event(told) + codec.end)",
        GATEWAY,
    ),
    Seed(
        "usage leaks to a caller who did not ask",
        "the usage chunk is passed on only to those who asked for it",
        "gateway/attempt.py",
        "if kind != DONE and (kind != USAGE or self._keep_usage):",
        "if kind != DONE:",
        GATEWAY,
    ),
    Seed(
        "an error in the first event is content",
        "until the first content a failure is invisible and may be tried again",
        "gateway/attempt.py",
        "if kind >= ERROR:",
        "if kind == MALFORMED:",
        GATEWAY,
    ),
)

PROVIDER_SEEDS = (
    Seed(
        "what cannot be cured is tried again",
        "a failure that trying again cannot cure is never tried again",
        "mechanisms/resilience.py",
        "        or rules[failure.kind] == RETRY_NEVER\n",
        "",
        RESILIENCE,
    ),
    Seed(
        "retries are unlimited",
        "retries never exceed a share of recent requests",
        "mechanisms/retry_budget.py",
        "        self._balance -= 1\n",
        "",
        RESILIENCE,
    ),
    Seed(
        "a fresh connection is retried",
        "only a connection that was kept too long is replaced unseen; nothing is sent twice",
        "net/client.py",
        "if not response.status and reused and again and response.is_reset:",
        "if not response.status and again and response.is_reset:",
        ("tests/unit/net/test_client.py", "tests/unit/net/test_client_failures.py"),
    ),
)

CALLER_SEEDS = (
    Seed(
        "a key is known by its prefix",
        "a key is its whole token, compared in constant time",
        "mechanisms/tenancy.py",
        " or not hmac.compare_digest(digest, bytes.fromhex(doc.mac))",
        "",
        TENANCY,
    ),
    Seed(
        "a revocation is not told to others",
        "revoking a key is felt on every node within a second",
        "mechanisms/news.py",
        '        await self._signals.publish(self._topic, new_id("chg_").encode())\n',
        "",
        TENANCY,
    ),
    Seed(
        "a user first seen is unlimited",
        "a user nobody configured gets the defaults from the first request on",
        "mechanisms/scopes.py",
        'docs[level] = _first_seen(path, docs["project"], docs["team"], docs["org"])',
        "docs[level] = ScopeDoc(path=path, level=level)",
        TENANCY,
    ),
    Seed(
        "the day turns by local time",
        "budget windows change at the UTC edge of day and month",
        "mechanisms/limits.py",
        "date = datetime.fromtimestamp(day * DAY_S, UTC)",
        "date = datetime.fromtimestamp(day * DAY_S).astimezone()",
        ("tests/unit/mechanisms/test_limits.py", "tests/unit/mechanisms/test_headroom.py"),
    ),
    Seed(
        "a refused request keeps its first limit",
        "all limits of a request are taken together or none is",
        "adapters/state/state.lua",
        "      local retry = ask.meter:retry(ask.amount)\n",
        "      for _, meter in pairs(by_key) do meter:save() end\n"
        "      local retry = ask.meter:retry(ask.amount)\n",
        ("tests/contracts/test_state.py",),
        chosen="redis",
    ),
    Seed(
        "two requests with one key both reach the vendor",
        "an Idempotency-Key is claimed, by one alone, before anything is spent",
        "gateway/idempotency.py",
        "await self._put(row_id, claim, expected=0)",
        "await self._put(row_id, claim)",
        GATEWAY,
    ),
    Seed(
        "headers have no bound",
        "every buffer is bounded: a head that never ends is refused",
        "net/connection.py",
        "elif len(raw) > self._site.limits.header_bytes:",
        "elif len(raw) > self._site.limits.body_bytes:",
        ("tests/unit/net",),
    ),
)

TRAFFIC_SEEDS = (*ANSWER_SEEDS, *PROVIDER_SEEDS, *CALLER_SEEDS)
