"""The columns of the table `audit` as pages explain them, and questions to begin with.

Promise: it names every column that the lake has, and no other; a test compares it with the lake's own.
"""

from __future__ import annotations

from typing import Final

COLUMNS: Final = {
    "When": {
        "ended_at": "when it ended (UTC)",
        "day": "the day of that",
        "at_s": "the same in seconds since 1970",
    },
    "Who": {
        "org": "organisation",
        "team": "team",
        "project": "project",
        "user": 'user; write "user" in quotes',
        "key_id": "key",
        "feature": "feature, as the caller named it",
    },
    "What": {
        "request_id": "the request's id",
        "face": "the dialect the caller spoke",
        "model": "model as asked for",
        "model_served": "the one that answered, else as asked",
        "model_used": "the one that answered",
        "provider": "who answered",
        "route": "why it went there, as the caller was told",
        "stream": "whether it was streamed",
        "temperature": "as asked for",
        "max_tokens": "as asked for",
        "tools_called": "tools the answer calls",
        "prompt_hash": "of the prompt; equal prompts have equal ones",
        "answer_hash": "of the answer",
        "flags": "what was noticed on the way",
    },
    "Outcome": {
        "outcome": "ok, refused or failed",
        "status": "HTTP status",
        "error": "code of what went wrong",
        "finish": "why the model stopped",
        "attempts": "calls to back ends",
        "calls": "each of them: provider, model, outcome, cost_nanos, …",
        "cache": "exact, semantic or stale; empty for a fresh answer",
    },
    "Money and tokens": {
        "cost_nanos": "cost, in billionths of a dollar",
        "saved_nanos": "what caches saved",
        "price_version": "prices it was billed by",
        "estimated": "whether the provider did not say what was used",
        "input_tokens": "tokens in",
        "cached_tokens": "of them, kept by the vendor",
        "output_tokens": "tokens out",
        "reasoning_tokens": "of them, thought",
    },
    "Time": {
        "latency_ms": "to the end, in milliseconds",
        "first_token_ms": "to the first token",
        "routed_ms": "until it was understood and routed",
        "admitted_ms": "until limits and money were held",
    },
    "Trace": {
        "trace_id": "as the caller named it",
        "parent_span": "likewise",
        "parent_sampled": "whether the caller's part is kept",
    },
}
"""By what they are about: column → what it holds."""

QUESTIONS: Final = {
    "What each team spent, by model": """\
SELECT team, model_served, count(*) AS requests, sum(cost_nanos) / 1e9 AS dollars
FROM audit
GROUP BY ALL
ORDER BY dollars DESC""",
    "The ten dearest requests": """\
SELECT request_id, ended_at, team, "user", model_served, cost_nanos
FROM audit
ORDER BY cost_nanos DESC
LIMIT 10""",
    "What went wrong, hour by hour": """\
SELECT date_trunc('hour', ended_at) AS hour, error, count(*) AS requests
FROM audit
WHERE outcome <> 'ok'
GROUP BY ALL
ORDER BY hour DESC, requests DESC""",
    "How fast each model answers": """\
SELECT model_served, count(*) AS requests,
       quantile_cont(first_token_ms, 0.5) AS first_p50_ms, quantile_cont(latency_ms, 0.95) AS p95_ms
FROM audit
WHERE outcome = 'ok'
GROUP BY ALL
ORDER BY p95_ms DESC""",
    "Calls to each back end, with what failed": """\
SELECT c.provider, c.model, count(*) AS calls, count(*) FILTER (c.outcome <> 'ok') AS failed
FROM (SELECT unnest(calls) AS c FROM audit)
GROUP BY ALL
ORDER BY calls DESC""",
    "Prompts that come again and again": """\
SELECT prompt_hash, count(*) AS requests, sum(cost_nanos) / 1e9 AS dollars
FROM audit
WHERE prompt_hash <> ''
GROUP BY ALL
HAVING count(*) > 1
ORDER BY dollars DESC
LIMIT 20""",
}
"""What they ask, and how."""
