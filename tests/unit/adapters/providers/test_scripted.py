"""The scripted provider: plays exactly its script, so that users can test against every failure."""

from __future__ import annotations

import json

import pytest

from penstock.adapters.providers.scripted import MAX_CALLS, ScriptedAnswer, ScriptedProvider
from penstock.dialects.openai import StreamFacts, read_reply_facts
from penstock.kernel.errors import Invalid
from penstock.kernel.faults import FAILURE_KINDS, MISBEHAVIOURS, Misbehaviour
from penstock.kernel.money import Usage
from penstock.ports.providers import CallTimers, ChatCall, ProviderFailure
from tests.support import run


def call(*, stream=False, **members) -> ChatCall:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi there"}], "stream": stream, **members}
    if stream:
        body["stream_options"] = {"include_usage": True}
    return ChatCall(
        model="m", body=json.dumps(body).encode(), stream=stream, request_id="r", timers=CallTimers()
    )


async def outcome(provider, *, stream=False):
    """Return the answer's text or usage facts, or the kind of its failure."""
    try:
        reply = await provider.chat(call(stream=stream))
        if not stream:
            return json.loads(await reply.read(1 << 24))["choices"][0]["message"]["content"]
        facts = StreamFacts()
        while block := await reply.chunk():
            facts.feed(block)
        return facts
    except ProviderFailure as error:
        return error.kind


def played(provider, count, **how):
    async def work():
        return [await outcome(provider, **how) for _ in range(count)]

    return run(work())


def test_steps_are_played_in_order_and_the_last_for_ever():
    provider = ScriptedProvider([Misbehaviour(kind="overloaded"), "One.", ScriptedAnswer(text="Two.")])
    assert played(provider, 4) == ["overloaded", "One.", "Two.", "Two."]
    assert len(provider.calls) == 4
    assert provider.calls[0].request_id == "r"


def test_a_script_can_be_replaced():
    provider = ScriptedProvider(["One."])
    played(provider, 2)
    provider.play("Two.", Misbehaviour(kind="quota"))
    assert played(provider, 3) == ["Two.", "quota_exhausted", "quota_exhausted"]


def test_a_seed_repeats_itself():
    def history(seed):
        return played(ScriptedProvider(seed=seed, weights={"overloaded": 0.5}), 50)

    assert history(1) == history(1) != history(2)
    assert set(history(1)) == {"overloaded", ScriptedAnswer().text}


@pytest.mark.parametrize("kind", MISBEHAVIOURS)
@pytest.mark.parametrize("stream", [True, False])
def test_every_misbehaviour_can_be_played(kind, stream):
    (seen,) = played(ScriptedProvider([Misbehaviour(kind=kind, after_chunks=2)]), 1, stream=stream)
    refusals = {"rate_limit": "rate_limited", "rate_limit_no_hint": "rate_limited", "quota": "quota_exhausted",
                "server_error": "server_error", "overloaded": "overloaded", "slow_first_byte": "first_byte_timeout",
                "reset": "connection_reset", "stall": "stalled", "cut": "cut",
                "spend_limit": "spend_limit"}  # fmt: skip
    if not stream:
        refusals |= {"malformed_line": "malformed_reply", "error_mid_stream": "server_error"}
    if kind in refusals:
        assert seen == refusals[kind]
        assert seen in FAILURE_KINDS
    elif stream:
        assert seen.done == (kind != "error_mid_stream")
        assert bool(seen.error) == (kind == "error_mid_stream")
        assert seen.malformed == (kind == "malformed_line")
        assert (seen.usage is None) == (kind in ("usage_missing", "error_mid_stream"))
        assert seen.usage_repeated == (kind == "usage_twice")
    else:
        assert seen.startswith(ScriptedAnswer().text)


def test_usage_is_counted_given_or_withheld():
    async def usages(answer):
        reply = await ScriptedProvider([answer]).chat(call())
        return read_reply_facts(await reply.read(1 << 20)).usage

    assert run(usages(ScriptedAnswer(text="a b c"))).output_tokens == 3
    assert run(usages(ScriptedAnswer(usage=Usage(input_tokens=7)))) == Usage(input_tokens=7)
    assert run(usages(ScriptedAnswer(usage=None))) is None


def test_a_stream_that_asked_for_no_usage_gets_none_and_still_ends():
    async def work(kind):
        body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"stream":true}'
        asked = ChatCall(model="m", body=body, stream=True, request_id="r", timers=CallTimers())
        reply = await ScriptedProvider([Misbehaviour(kind=kind)]).chat(asked)
        got = b""
        while block := await reply.chunk():
            got += block
        return got

    for kind in ("none", "usage_twice", "usage_late"):
        got = run(work(kind))
        assert b'"usage"' not in got
        assert got.endswith(b"data: [DONE]\n\n")


def test_calls_kept_are_bounded():
    provider = ScriptedProvider()
    assert provider.calls.maxlen == MAX_CALLS


def test_unknown_misbehaviour_is_refused_and_closing_is_remembered():
    with pytest.raises(Invalid):
        ScriptedProvider(weights={"x": 1})
    provider = ScriptedProvider(models=["a"])
    run(provider.close())
    assert provider.closed
    assert run(provider.models()) == ["a"]
