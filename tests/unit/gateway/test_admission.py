"""Admission: a refusal costs nothing and leaves nothing held; an admitted request holds its worst case first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import pytest

from penstock.dialects.openai_envelope import open_chat
from penstock.gateway.admission import LEAST_OUTPUT_TOKENS, Admission, Seat
from penstock.gateway.ask import Ask
from penstock.gateway.embeddings import EMBEDDINGS
from penstock.gateway.routing import Endpoint, RouteTable, Target
from penstock.kernel.clock import ManualClock
from penstock.kernel.context import Principal, Rate, RequestContext, Scope
from penstock.kernel.errors import Forbidden, Invalid, OverBudget, OverLimit, PenstockError, Unavailable
from penstock.kernel.money import worst_case_nanos
from penstock.kernel.settings import AdmissionSettings
from penstock.mechanisms.limits import Plans
from penstock.mechanisms.price_data import ModelLimits, PriceOverride, PriceOverrides
from penstock.mechanisms.prices import PriceBook
from penstock.ports.ledger import Hold
from penstock.ports.state import Ask as StateAsk
from penstock.ports.state import Taken
from tests.support import run
from tests.unit.gateway.doubles import NamedProvider, ScriptedLedger, ScriptedState

PRICES = PriceBook.load(
    PriceOverrides(
        prices=(PriceOverride(provider="sim", model="small", input="1", output="2"),),
        limits=(ModelLimits(provider="sim", model="small", context_window=1000, max_output_tokens=500),),
    )
)
TARGETS: tuple[Target, ...] = (
    RouteTable({"sim": Endpoint(provider=NamedProvider(), models=("small",))}, (), PRICES, 20_000)
    .find("small")
    .targets
)
LIMITED = Rate(requests_per_minute=10, tokens_per_minute=10_000, concurrency=3)


def principal(**changes: object) -> Principal:
    """Return a caller with one limited scope."""
    caller = Principal(
        key_id="k", org="a", team="t", project="p", user="u",
        scopes=(Scope(level="key", path="org:a/key:k", rate=LIMITED),),
    )  # fmt: skip
    return msgspec.structs.replace(caller, **changes)


def ask(text: str = "hello", **members: object) -> Ask:
    """Return an opened request."""
    body = {"model": "small", "messages": [{"role": "user", "content": text}], **members}
    price = TARGETS[0].price
    return Ask(open_chat(msgspec.json.encode(body)), price.image_tokens_max, price.context_window)


def admit(
    wanted: Ask, ledger: ScriptedLedger, state: ScriptedState, caller: Principal | None = None,
    settings: AdmissionSettings | None = None, targets: tuple[Target, ...] = TARGETS,
) -> tuple[Seat, Admission]:  # fmt: skip
    """Admit one request; return its seat and the gate."""
    clock = ManualClock()
    gate = Admission(settings or AdmissionSettings(), Plans(clock), state, ledger, 900)  # pyright: ignore[reportArgumentType]  # doubles have only what admission uses
    context = RequestContext("req_1", caller or principal(), deadline_s=1e12, received_ns=0)
    return run(gate.admit(context, wanted, targets)), gate


def refused(kind: type[PenstockError], wanted: Ask, **how: object) -> PenstockError:
    """Expect a refusal that leaves nothing held and nothing taken."""
    ledger = ScriptedLedger()
    state = ScriptedState()
    with pytest.raises(kind) as caught:
        admit(wanted, ledger, state, **how)  # pyright: ignore[reportArgumentType]  # shorthand that only a test may use
    assert ledger.holds == []
    assert len(state.given_back) == len(state.taken)
    return caught.value


def test_the_worst_case_is_held_before_anything_is_dispatched() -> None:
    ledger, wanted = ScriptedLedger(), ask(max_tokens=100)
    seat, _ = admit(wanted, ledger, ScriptedState())
    assert [hold.amount_nanos for hold in ledger.holds] == [
        worst_case_nanos(TARGETS[0].price, wanted.input_tokens, 100)
    ]
    assert (seat.output_tokens, seat.held_nanos) == (100, ledger.holds[0].amount_nanos)


@pytest.mark.parametrize(("asked", "granted"), [(None, 500), (499, 499), (500, 500), (501, 500)])
def test_the_answer_is_clamped_to_what_the_model_can_give(asked: int | None, granted: int) -> None:
    wanted = ask() if asked is None else ask(max_completion_tokens=asked)
    assert admit(wanted, ScriptedLedger(), ScriptedState())[0].output_tokens == granted


def test_a_key_clamps_further() -> None:
    assert (
        admit(ask(), ScriptedLedger(), ScriptedState(), principal(max_output_tokens=7))[0].output_tokens == 7
    )


def test_a_model_outside_the_keys_list_is_forbidden() -> None:
    assert refused(Forbidden, ask(), caller=principal(models=("big",))).limit == "big"


@pytest.mark.parametrize(("n", "fits"), [(8, True), (9, False)])
def test_choices_are_bounded(n: int, fits: bool) -> None:
    if fits:
        admit(ask(n=n), ScriptedLedger(), ScriptedState())
    else:
        assert refused(Invalid, ask(n=n)).limit == 8


@pytest.mark.parametrize(("words", "fits"), [(1000, True), (1001, False)])
def test_a_prompt_that_cannot_fit_the_window_is_refused_with_both_figures(words: int, fits: bool) -> None:
    wanted = ask("word " * words)
    if fits:
        admit(wanted, ScriptedLedger(), ScriptedState())
    else:
        error = refused(Invalid, wanted)
        assert (error.reason, error.value, error.limit) == ("context_length_exceeded", 1001, 1000)


def test_a_price_ceiling_refuses_at_one_nano_over_and_not_at_it() -> None:
    wanted = ask(max_tokens=100)
    worst = worst_case_nanos(TARGETS[0].price, wanted.input_tokens, 100)
    admit(wanted, ScriptedLedger(), ScriptedState(), principal(max_request_nanos=worst))
    error = refused(OverBudget, wanted, caller=principal(max_request_nanos=worst - 1))
    assert (error.reason, error.value, error.limit) == ("request_too_expensive", worst, worst - 1)


def test_a_reached_limit_names_itself_and_when_to_come_back() -> None:
    ledger, state = ScriptedLedger(), ScriptedState(refuse=0)
    with pytest.raises(OverLimit) as caught:
        admit(ask(), ledger, state)
    assert caught.value.field == "key requests per minute"
    assert (caught.value.retry_after_s, caught.value.remedy) == (1.5, "Retry after 1.500 s.")
    assert ledger.holds == []
    assert state.given_back == []


@pytest.mark.parametrize(("lapses_s", "told_s"), [(899.8, 1.0), (0.4, 0.4)])
def test_who_finds_no_place_is_asked_back_when_a_request_may_have_ended_not_when_a_dead_ones_place_lapses(
    lapses_s: float, told_s: float
) -> None:
    class Full(ScriptedState):
        async def take(self, asks: Sequence[StateAsk], holder: str) -> Taken:
            return Taken(1, (0,) * len(asks), (lapses_s,) * len(asks), lapses_s)

    with pytest.raises(OverLimit) as caught:
        admit(ask(), ScriptedLedger(), Full())
    assert (caught.value.field, caught.value.limit) == ("key requests at one time", 3)
    assert caught.value.retry_after_s == told_s
    assert caught.value.remedy == "Retry when one of them has ended."


def test_no_room_gives_the_limits_back() -> None:
    ledger, state = ScriptedLedger(room_nanos=5), ScriptedState()
    with pytest.raises(OverBudget):
        admit(ask(max_tokens=100), ledger, state)
    assert [each.amount for each in state.given_back[0]] == [1, ask(max_tokens=100).input_tokens + 100]


@pytest.mark.parametrize("cap", ["max_input_tokens", "max_request_nanos"])
def test_what_is_no_chat_is_refused_in_words_that_fit_it(cap: str) -> None:
    """Given texts to embed past a cap of the key, then nobody is told to shorten a conversation or an answer."""
    body = msgspec.json.encode({"model": "small", "input": ["How full is the reservoir today?"] * 9})
    wanted = Ask(EMBEDDINGS.open(body, ""), 0, 1000)
    error = refused(
        Invalid if cap == "max_input_tokens" else OverBudget, wanted, caller=principal(**{cap: 1})
    )
    assert (error.field, error.limit, error.remedy) == ("input", 1, "Send less at one time.")
    assert (error.value or 0) > 1  # pyright: ignore[reportOperatorIssue]  # a figure of either kind


def test_a_caller_must_name_a_length_where_the_operator_wants_one() -> None:
    """Given an operator that grants no default, then an unnamed length is a 400 that says what to send and at most."""
    settings = AdmissionSettings(require_output_limit=True, max_output_tokens=300)
    error = refused(Invalid, ask(), settings=settings)
    assert (error.reason, error.field, error.limit) == ("output_limit_required", "max_tokens", 300)
    assert "maxOutputTokens" in error.remedy
    named = {name: admit(ask(**{name: 400}), ScriptedLedger(), ScriptedState(), settings=settings)[0].output_tokens
             for name in ("max_tokens", "max_completion_tokens")}  # fmt: skip
    assert named == {"max_tokens": 300, "max_completion_tokens": 300}


@pytest.mark.parametrize(
    ("window", "ends", "seconds"),
    [
        ("2026-11-21", "2026-11-22 00:00 UTC", 3_600.0),
        ("2026-11", "2026-12-01 00:00 UTC", 9 * 86_400 + 3_600.0),
    ],
)
def test_a_budget_without_room_says_in_dollars_what_is_left_and_when_there_is_room_again(
    window: str, ends: str, seconds: float
) -> None:
    """Given an hour before midnight UTC, then the refusal names the cost, what is left, and the end of the window."""
    error = broke(window)
    assert error.message == (
        f"The budget of org:a@{window} has no room for this request: it could cost $0.000409, and $0.000000005 is left."
    )
    assert (error.field, error.value, error.limit) == (f"org:a@{window}", 409_000, 5)
    assert error.remedy == f"Shorten the request or raise the budget, or wait until {ends}."
    assert error.retry_after_s == seconds


def test_a_budget_of_all_time_names_no_time_to_come_back() -> None:
    error = broke("total")
    assert error.remedy == "Shorten the request or raise the budget; it has no next window."
    assert error.retry_after_s is None


def broke(window: str) -> OverBudget:
    """Return the refusal of a request by a ledger whose account of `window` has 5 nano-dollars left."""

    class Broke(ScriptedLedger):
        async def hold(self, hold: Hold) -> None:
            raise OverBudget(field=f"org:a@{window}", value=hold.amount_nanos, limit=5)

    clock = ManualClock(wall_s=datetime(2026, 11, 21, 23, tzinfo=UTC).timestamp())
    gate = Admission(AdmissionSettings(), Plans(clock), ScriptedState(), Broke(), 900)  # pyright: ignore[reportArgumentType]  # doubles have only what admission uses
    context = RequestContext("req_1", principal(), deadline_s=1e12, received_ns=0)
    with pytest.raises(OverBudget) as caught:
        run(gate.admit(context, ask(max_tokens=100), TARGETS))
    return caught.value


def test_a_ledger_that_is_down_refuses_and_gives_the_limits_back() -> None:
    state = ScriptedState()
    with pytest.raises(Unavailable):
        admit(ask(), ScriptedLedger(down=True), state)
    assert len(state.given_back) == 1


def test_a_caller_that_named_no_length_gets_what_the_room_affords() -> None:
    wanted = ask()
    room = worst_case_nanos(TARGETS[0].price, wanted.input_tokens, 40)
    seat, _ = admit(wanted, ScriptedLedger(room_nanos=room), ScriptedState())
    assert seat.output_tokens == 40
    assert seat.held_nanos <= room


@pytest.mark.parametrize(("tokens", "fits"), [(LEAST_OUTPUT_TOKENS, True), (LEAST_OUTPUT_TOKENS - 1, False)])
def test_an_answer_too_short_to_be_one_is_refused_instead(tokens: int, fits: bool) -> None:
    wanted = ask()
    ledger = ScriptedLedger(room_nanos=worst_case_nanos(TARGETS[0].price, wanted.input_tokens, tokens))
    if fits:
        assert admit(wanted, ledger, ScriptedState())[0].output_tokens == tokens
    else:
        with pytest.raises(OverBudget):
            admit(wanted, ledger, ScriptedState())


def test_without_the_state_store_traffic_goes_on_and_is_counted_and_money_is_still_held() -> None:
    ledger = ScriptedLedger()
    seat, gate = admit(ask(), ledger, ScriptedState(down=True))
    assert gate.unlimited == 1
    assert len(ledger.holds) == 1
    run(gate.give_back(seat, 10))


def test_every_top_up_has_a_sequence_of_its_own() -> None:
    ledger = ScriptedLedger()
    seat, gate = admit(ask(max_tokens=10), ledger, ScriptedState())
    held = seat.held_nanos
    assert [run(gate.top_up(seat, 100)), run(gate.top_up(seat, 10)), run(gate.top_up(seat, 1))] == [True] * 3
    assert [(hold.operation, hold.sequence) for hold in ledger.holds] == [("req_1", n) for n in range(4)]
    assert seat.held_nanos == held + 111


def test_a_top_up_takes_the_next_sequence_and_stops_at_the_room() -> None:
    ledger = ScriptedLedger()
    seat, gate = admit(ask(max_tokens=10), ledger, ScriptedState())
    held = seat.held_nanos
    assert run(gate.top_up(seat, 100))
    assert (ledger.holds[1].sequence, seat.held_nanos) == (1, held + 100)
    assert not run(gate.top_up(seat, 10**13))
    assert seat.held_nanos == held + 100


@pytest.mark.parametrize(
    ("key", "operator", "bound"), [(0, 500, 500), (500, 0, 500), (900, 500, 500), (500, 900, 500)]
)
def test_the_smaller_of_the_keys_and_the_operators_price_ceiling_holds(
    key: int, operator: int, bound: int
) -> None:
    settings = AdmissionSettings(max_request_nanos=operator)
    caller = principal(max_request_nanos=key)
    assert refused(OverBudget, ask(max_tokens=100), caller=caller, settings=settings).limit == bound


class NarrowingLedger(ScriptedLedger):
    """Has less room in each account it is asked about than it told of the one before."""

    def __init__(self, *rooms: int) -> None:
        super().__init__()
        self.rooms = list(rooms)
        self.asked: list[int] = []

    async def hold(self, hold: Hold) -> None:
        self.asked.append(hold.amount_nanos)
        if self.rooms and hold.amount_nanos > self.rooms[0]:
            raise OverBudget(field="another account", value=hold.amount_nanos, limit=self.rooms.pop(0))
        await super().hold(hold)


def rooms(wanted: Ask, *tokens: int) -> tuple[int, ...]:
    """Return the rooms that afford answers so long."""
    return tuple(worst_case_nanos(TARGETS[0].price, wanted.input_tokens, count) for count in tokens)


def test_no_refusal_while_the_narrowest_of_several_budgets_still_has_room() -> None:
    wanted = ask()
    ledger = NarrowingLedger(*rooms(wanted, 300, 40))
    scopes = tuple(Scope(level="org", path=f"org:{number}") for number in range(2))
    seat, _ = admit(wanted, ledger, ScriptedState(), principal(scopes=scopes))
    assert (seat.output_tokens, seat.held_nanos) == (40, ledger.asked[-1])


def test_a_ledger_that_never_agrees_is_asked_a_bounded_number_of_times() -> None:
    wanted = ask()
    ledger = NarrowingLedger(*rooms(wanted, *range(400, 300, -1)))
    with pytest.raises(OverBudget):
        admit(wanted, ledger, ScriptedState())
    assert len(ledger.asked) == len(principal().scopes) + 1


def test_slots_that_may_have_been_taken_by_a_store_that_fell_silent_are_given_back() -> None:
    class Silent(ScriptedState):
        async def take(self, asks: Sequence[StateAsk], holder: str) -> Taken:
            await super().take(asks, holder)
            raise Unavailable("no answer")

    state = Silent()
    seat, gate = admit(ask(), ScriptedLedger(), state)
    run(gate.give_back(seat, 50))
    assert [[each.kind for each in back] for back in state.given_back] == [["slots"]]


def test_what_is_given_back_is_never_more_than_was_taken() -> None:
    state = ScriptedState()
    scopes = (Scope(level="key", path="org:a/key:k", rate=Rate(tokens_per_minute=60)),)
    seat, gate = admit(ask(max_tokens=100), ScriptedLedger(), state, principal(scopes=scopes))
    assert (seat.asks_tokens > 60, state.taken[0][0].amount) == (True, 60)
    run(gate.give_back(seat, seat.asks_tokens - 50))
    assert state.given_back[0][0].amount == 10


@pytest.mark.parametrize(("member", "value"), [("audio", {"voice": "alloy"}), ("web_search_options", {})])
def test_a_service_that_has_no_price_is_refused_and_a_null_is_none(member: str, value: object) -> None:
    price = msgspec.structs.replace(TARGETS[0].price, unpriced=frozenset({"audio", "web_search"}))
    unpriced = (msgspec.structs.replace(TARGETS[0], price=price),)
    with pytest.raises(Invalid) as caught:
        admit(ask(**{member: value}), ScriptedLedger(), ScriptedState(), targets=unpriced)
    assert (caught.value.reason, caught.value.field) == ("part_without_price", member)
    admit(ask(**{member: None}), ScriptedLedger(), ScriptedState(), targets=unpriced)
    admit(ask(**{member: value}), ScriptedLedger(), ScriptedState())
