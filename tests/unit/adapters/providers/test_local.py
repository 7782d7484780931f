"""`local/extractive`: honest, word for word, bounded."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.adapters.providers.extract import (
    MAX_SENTENCE_CHARS,
    MAX_SENTENCES,
    best_sentences,
    sentences_of,
)
from penstock.adapters.providers.local import (
    INLINE_BYTES,
    MAX_INPUT_BYTES,
    MODEL,
    NOTHING,
    PREFACE,
    LocalExtractive,
)
from penstock.dialects.openai import StreamFacts, parse_reply
from penstock.ports.providers import CallTimers, ChatCall, ProviderFailure
from tests.support import run

MANUAL = (
    "The sluice opens at seven in the morning. The turbine needs oil every week. "
    "Version 3.5 of the controller was fitted in March! Nobody may enter the tail race."
)


def ask(question, *, stream=False, text=MANUAL, **members):
    body = {
        "model": MODEL,
        "messages": [{"role": "system", "content": text}, {"role": "user", "content": question}],
        "stream": stream,
        **members,
    }
    return ChatCall(
        model=MODEL, body=json.dumps(body).encode(), stream=stream, request_id="r", timers=CallTimers()
    )


def answered(call):
    async def work():
        reply = await LocalExtractive().chat(call)
        return parse_reply(await reply.read(1 << 20))

    return run(work())


def text_of(reply) -> str:
    return reply.choices[0].content[0].text


def refused(call) -> ProviderFailure:
    with pytest.raises(ProviderFailure) as raised:
        answered(call)
    return raised.value


def test_it_says_what_it_is_and_quotes_word_for_word():
    first, *quotes = text_of(answered(ask("When does the sluice open?"))).splitlines()
    assert first == PREFACE
    assert quotes == ["“The sluice opens at seven in the morning.”"]


def test_a_decimal_point_does_not_end_a_sentence():
    assert "“Version 3.5 of the controller was fitted in March!”" in text_of(
        answered(ask("Which version is fitted?"))
    )


def test_it_admits_to_know_nothing():
    assert text_of(answered(ask("Who won the chess tournament?"))) == NOTHING


def test_a_document_and_its_question_may_share_one_message():
    reply = answered(ask(f"{MANUAL}\n\nHow often does the turbine need oil?", text="Be brief."))
    assert "“The turbine needs oil every week.”" in text_of(reply)
    assert "How often" not in text_of(reply)


def test_the_same_question_has_the_same_answer():
    assert text_of(answered(ask("oil and sluice?"))) == text_of(answered(ask("oil and sluice?")))


def test_usage_counts_words_and_max_tokens_is_obeyed():
    whole = answered(ask("When does the sluice open?"))
    assert whole.usage.output_tokens == len(text_of(whole).split())
    assert whole.usage.input_tokens == len(MANUAL.split()) + 5
    for limit, finish in (
        (whole.usage.output_tokens, "stop"),
        (whole.usage.output_tokens - 1, "length"),
        (1, "length"),
    ):
        cut = answered(ask("When does the sluice open?", max_tokens=limit))
        assert (cut.usage.output_tokens, cut.finishes) == (limit, (finish,))


def test_stop_sequences_cut_before_themselves():
    assert text_of(answered(ask("sluice?", stop=["seven", "model"]))) == PREFACE.partition(" model")[0]


def test_a_stream_says_the_same_and_counts_the_same():
    async def work(call):
        reply = await LocalExtractive().chat(call)
        facts, got = StreamFacts(), b""
        while block := await reply.chunk():
            facts.feed(block)
            got += block
        return facts, got

    whole = answered(ask("sluice?"))
    facts, _ = run(work(ask("sluice?", stream=True, stream_options={"include_usage": True})))
    assert (facts.usage, facts.finish, facts.done) == (whole.usage, "stop", True)
    assert facts.text_bytes == len(text_of(whole).encode())
    facts, got = run(work(ask("sluice?", stream=True)))
    assert facts.usage is None
    assert b"usage" not in got


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"n": 2}, "n"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"messages": []}, "messages"),
    ],
)
def test_what_it_cannot_do_is_refused_with_the_field(members, field):
    error = refused(ask("x", **members))
    assert (error.kind, error.vendor_status, error.dispatched) == ("invalid", 400, False)
    assert json.loads(error.body)["error"]["param"] == field


@pytest.mark.parametrize(
    "members", [{"response_format": {"type": "text"}}, {"tool_choice": "auto"}, {"n": 1}]
)
def test_what_changes_nothing_is_accepted(members):
    assert answered(ask("sluice?", **members))


def test_too_long_a_conversation_is_refused_with_the_figures():
    error = refused(ask("x", text="y" * MAX_INPUT_BYTES))
    assert error.kind == "context_overflow"
    assert str(MAX_INPUT_BYTES) in str(error)


def test_a_long_conversation_does_not_hold_the_loop():
    text = " ".join(f"Sentence number {n} speaks of turbines and water." for n in range(15_000))
    assert INLINE_BYTES < len(text) < MAX_INPUT_BYTES

    async def work():
        answering = asyncio.ensure_future(LocalExtractive().chat(ask("turbines?", text=text)))
        turns = 0
        while not answering.done():
            await asyncio.sleep(0)
            turns += 1
        return turns, await answering

    turns, reply = run(work())
    assert turns > 10
    assert reply.status == 200


def test_the_model_is_listed():
    assert run(LocalExtractive().models()) == [MODEL]


def test_questions_of_only_common_words_find_nothing():
    assert best_sentences(["what is it", "it is what it is"], "what is it?", 3) == []


@given(st.text(max_size=300))
def test_sentences_are_pieces_of_the_text(text):
    for sentence in sentences_of(text):
        assert sentence in text
        assert len(sentence) <= MAX_SENTENCE_CHARS


def test_sentences_are_bounded_in_length_and_number():
    assert max(map(len, sentences_of("x" * 5000))) == MAX_SENTENCE_CHARS
    assert sum(1 for _ in sentences_of("a.\n" * (MAX_SENTENCES + 5))) == MAX_SENTENCES


SENTENCES = st.lists(st.sampled_from(["red gate", "blue wheel", "green water", "red water"]), unique=True)


@given(SENTENCES, st.integers(0, 4))
def test_chosen_sentences_share_a_word_and_keep_their_order(sentences, count):
    chosen = best_sentences(sentences, "red water?", count)
    fitting = [sentence for sentence in sentences if sentence != "blue wheel"]
    assert len(chosen) == min(count, len(fitting))
    assert chosen == [sentence for sentence in fitting if sentence in chosen]


def test_the_sentence_that_shares_most_is_preferred():
    assert best_sentences(["red gate", "red water", "green water"], "red water?", 1) == ["red water"]


def test_the_official_sdks_types_accept_the_answer():
    async def work():
        reply = await LocalExtractive().chat(ask("sluice?"))
        return await reply.read(1 << 20)

    assert openai.types.chat.ChatCompletion.model_validate_json(run(work())).choices[0].message.content
