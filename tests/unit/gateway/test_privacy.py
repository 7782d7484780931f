"""Personal data on the request path: it never reaches the provider, and the caller sees it in the answer."""

from __future__ import annotations

import msgspec
import pytest

from penstock.gateway import attempt as attempts
from penstock.gateway.privacy import GuardCare, PrivacyCare
from penstock.kernel.errors import PolicyRefused
from penstock.mechanisms.guards import Guards, Post, TopicGuard
from penstock.mechanisms.redaction.policy import Action, RedactionPolicy, Tally
from penstock.mechanisms.redaction.redactor import Redactor
from penstock.mechanisms.redaction.scanner import Scanner
from penstock.mechanisms.tokens import estimate_output_tokens
from penstock.ports.providers import ProviderFailure
from tests.support import run
from tests.unit.gateway.rig import (
    DONE,
    FINISH,
    HANG,
    ROLE,
    USAGE,
    House,
    Reply,
    Step,
    Vendor,
    chat,
    full,
    stream,
    text,
    whole,
)

SCANNER = Scanner()
EMAIL = "mia@example.org"
POLICY = RedactionPolicy(requests={"EMAIL": Action.REPLACE, "CARD": Action.REFUSE})
ASKED = [{"role": "user", "content": f"Write to {EMAIL}, please."}]


class Echo(Vendor):
    """A vendor that says back what it was told, whole or in pieces of `size` characters."""

    def __init__(self, size: int = 0) -> None:
        super().__init__("sim", full(whole()))
        self.size = size

    async def chat(self, call: object) -> Reply:
        self.calls.append(call)  # pyright: ignore[reportArgumentType]  # it is a ChatCall, kept as one
        words = msgspec.json.decode(self.calls[-1].body)["messages"][0]["content"]
        if not self.size:
            self.answers = [full(whole(words, usage={"prompt_tokens": 9, "completion_tokens": 3}))]
            return self.answers[0]()
        pieces = [words[at : at + self.size] for at in range(0, len(words), self.size)]
        return Reply(ROLE, *[text(piece) for piece in pieces], FINISH, USAGE, DONE)


def house(vendor: Vendor, policies: dict[tuple[str, str], RedactionPolicy]) -> House:
    """Return a gateway under `policies`."""
    made = House(vendor)
    tally = Tally(made.clock)
    redactor = Redactor(SCANNER, made.clock, tally, lambda _id, _counts: None)
    made.pipeline.inspections = (PrivacyCare(redactor, SCANNER, policies),)
    return made


def said(it: House, *, stream: bool) -> str:
    """Return the words the caller was sent."""
    if not stream:
        return msgspec.json.decode(it.caller.body)["choices"][0]["message"]["content"]
    chunks = [msgspec.json.decode(b[6:]) for b in it.caller.body.split(b"\n\n") if b.startswith(b"data: {")]
    return "".join(each["choices"][0]["delta"].get("content") or "" for each in chunks if each["choices"])


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 1_000])
def test_an_address_is_replaced_on_the_way_out_and_put_back_on_the_way_in(size: int) -> None:
    vendor = Echo(size)
    it = house(vendor, {("a", ""): POLICY})
    run(it.serve(messages=ASKED, stream=bool(size)))
    assert EMAIL.encode() not in vendor.calls[0].body
    assert said(it, stream=bool(size)) == f"Write to {EMAIL}, please."
    assert it.events[0].flags == ("pii:EMAIL",)
    if size:
        assert it.caller.body.endswith(DONE)


def test_the_most_exact_rules_count_and_others_are_left_alone() -> None:
    loose = RedactionPolicy()
    for policies, hidden in (
        ({("a", "t"): POLICY}, True),
        ({("", ""): POLICY}, True),
        ({("a", "t"): loose, ("a", ""): POLICY}, False),
        ({("a", "z"): POLICY, ("globex", ""): POLICY}, False),
        ({}, False),
    ):
        vendor = Echo()
        it = house(vendor, policies)
        run(it.serve(messages=ASKED))
        assert (EMAIL.encode() not in vendor.calls[0].body) is hidden, policies


def test_without_rules_every_byte_passes() -> None:
    vendor = Echo()
    it = house(vendor, {("globex", ""): POLICY})
    run(it.serve(messages=ASKED, unheard_of=1.50))
    assert b'"unheard_of":1.5' in vendor.calls[0].body
    assert (
        msgspec.json.decode(chat(messages=ASKED))["messages"]
        == msgspec.json.decode(vendor.calls[0].body)["messages"]
    )


def test_what_must_not_leave_is_refused_and_nothing_is_spent() -> None:
    vendor = Echo()
    it = house(vendor, {("a", ""): POLICY})
    with pytest.raises(PolicyRefused, match="CARD") as refused:
        run(it.serve(messages=[{"role": "user", "content": "My card is 4111 1111 1111 1111."}]))
    assert "4111" not in str(refused.value)
    assert not vendor.calls and not it.ledger.holds


def test_an_answer_that_must_not_be_told_costs_what_its_vendor_says_and_no_more() -> None:
    bill = {"prompt_tokens": 9, "completion_tokens": 3}
    it = house(
        Vendor("sim", full(whole("It is 4111 1111 1111 1111.", usage=bill))),
        {("a", ""): RedactionPolicy(answers={"CARD": Action.REFUSE})},
    )
    with pytest.raises(PolicyRefused):
        run(it.serve(max_tokens=400))
    [posting] = it.ledger.postings
    assert (posting.amount_nanos, posting.estimated) == (9 * 1_000 + 3 * 2_000, False)
    assert b"4111" not in it.caller.body


CARD = "It is 4111 1111 1111 1111. " + "More follows. " * 20
CARD_TOKENS = estimate_output_tokens(len(CARD), 1).tokens
COUNTED = {"prompt_tokens": 9, "completion_tokens": 1}


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ((ROLE, text(CARD) + FINISH + USAGE + DONE), (9, 3, "ok")),
        ((ROLE, text(CARD, usage=COUNTED), HANG), (9, CARD_TOKENS, "personal_data_refused")),
        ((ROLE, text(CARD), HANG), (0, CARD_TOKENS, "personal_data_refused")),
        ((ROLE, text(CARD) + text("!"), HANG), (0, CARD_TOKENS + 1, "personal_data_refused")),
    ],
    ids=["whole in one piece", "counted along", "not counted", "more with it"],
)
def test_a_stream_refused_at_its_first_content_costs_what_came_of_it(
    steps: tuple[Step, ...], told: tuple[int, int, str]
) -> None:
    vendor = Vendor("sim", stream(*steps))
    it = house(vendor, {("a", ""): RedactionPolicy(answers={"CARD": Action.REFUSE})})
    with pytest.raises(PolicyRefused):
        run(it.serve(max_tokens=400, stream=True))
    assert vendor.replies[0].closed and not it.caller.started
    [posting], [event] = it.ledger.postings, it.events
    [attempt] = posting.attempts
    bound_tokens = it.ledger.holds[0].amount_nanos // 1_000 - 2 * 400
    input_tokens, output_tokens, outcome = told
    assert attempt.input_tokens == (input_tokens or bound_tokens)
    assert (attempt.output_tokens, attempt.outcome) == (output_tokens, outcome)
    assert posting.amount_nanos == attempt.input_tokens * 1_000 + output_tokens * 2_000
    assert posting.estimated is (outcome != "ok")
    assert (event.status, event.error, event.cost_nanos) == (
        403,
        "personal_data_refused",
        posting.amount_nanos,
    )
    assert [call.outcome for call in event.calls] == [outcome]


@pytest.mark.parametrize(
    ("steps", "exact"),
    [
        ((FINISH, USAGE, DONE), True),
        ((FINISH, b": so be it\n\n", USAGE), True),
        ((FINISH + text("!"), USAGE, DONE), True),
        ((FINISH, DONE), False),
        ((FINISH, HANG), False),
        ((FINISH, ProviderFailure("gone", kind="cut")), False),
        ((FINISH, b"data: " + b"x" * (2 << 20)), False),
    ],
    ids=["usage", "and a comment", "and more with it", "none", "never", "broken off", "nonsense"],
)
@pytest.mark.parametrize("words", ["Well: ", ""], ids=["after others", "at first"])
def test_an_end_that_must_not_be_told_costs_what_its_vendor_says_right_after_it(
    words: str, steps: tuple[Step, ...], exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "LATE_S", 0.01)
    said = (text(words), text("4111 1111 1111 1111")) if words else (text("4111 1111 1111 1111"),)
    vendor = Vendor("sim", stream(ROLE, *said, *steps))
    it = house(vendor, {("a", ""): RedactionPolicy(answers={"CARD": Action.REFUSE})})
    with pytest.raises(PolicyRefused):
        run(it.serve(max_tokens=400, stream=True))
    [posting] = it.ledger.postings
    assert vendor.replies[0].closed and b"4111" not in it.caller.body
    assert posting.estimated is not exact
    if exact:
        assert posting.amount_nanos == 9 * 1_000 + 3 * 2_000


def test_a_guard_refuses_what_a_team_must_not_talk_about() -> None:
    vendor = Echo()
    it = House(vendor)
    guards = Guards([Post(guard=TopicGuard(never=["dam breach"]))])
    it.pipeline.inspections = (GuardCare({("a", "t"): guards}),)
    with pytest.raises(PolicyRefused, match="topics"):
        run(it.serve(messages=[{"role": "user", "content": "How would a DAM  breach go?"}]))
    assert not vendor.calls and it.events[0].flags == ("flagged", "guard:topics")
    run(it.serve(messages=ASKED))
    assert len(vendor.calls) == 1
