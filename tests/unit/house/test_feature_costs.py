"""What a feature costs is a difference of pairs, with its error, and is judged as it is told."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from tests.bench import payload
from tests.bench.features import FEATURES
from tests.bench.turns import Middle, Pair, Turn, middle
from tests.evidence import g6_features as g6
from tests.evidence.registry import Line, Record, Result, Table, run

SPINE = g6.Spine("abc", "2026-11-21", 100.0, 14.0)
PLAIN, STREAMED = FEATURES[0].name, next(each.name for each in FEATURES if each.load.stream)


def turn(us: float, *, left_us: float = 0.0, **more: float) -> Turn:
    """Return a turn in which an answer cost `us`, and `left_us` afterwards."""
    said = {"per_s": 9_000.0, "errors": 0.0, "foreign_cores": 0.0, **more}
    return Turn(window_us=us, whole_us=us + left_us, **said)


def pairs(*differences: float, base: float = 100.0) -> list[Pair]:
    """Return pairs with these differences."""
    return [Pair(turn(base), turn(base + each)) for each in differences]


def test_the_middle_is_not_moved_by_one_that_is_far_off() -> None:
    calm, shaken = middle([1.0, 2.0, 3.0, 4.0, 5.0]), middle([1.0, 2.0, 3.0, 4.0, 500.0])
    assert calm == shaken
    assert calm.at == 3.0
    assert calm.error == pytest.approx(1.2533 * 1.4826 / math.sqrt(5), rel=1e-3)
    assert str(Middle(3.0, 0.25)) == "+3.0 ± 0.2"


def test_one_value_has_no_error_that_is_known() -> None:
    assert middle([7.0]) == Middle(7.0, math.inf)


def test_a_request_is_charged_with_what_it_leaves_to_do() -> None:
    assert Pair(turn(100.0), turn(101.0, left_us=9.0)).more_us == 10.0


def test_a_stream_is_told_by_the_chunk_and_a_request_whole() -> None:
    seen = {PLAIN: pairs(1.0, 2.0, 3.0), STREAMED: pairs(66.0, 132.0, 198.0, base=660.0)}
    (request,), (chunk,) = g6.table(seen, streams=False).rows, g6.table(seen, streams=True).rows
    assert request[:4] == (PLAIN, 100.0, 102.0, 2.0)
    assert chunk[:4] == (STREAMED, 10.0, 12.0, 2.0)


def test_a_bar_is_drawn_only_for_what_is_more_than_its_error() -> None:
    seen = {PLAIN: pairs(-4.0, 0.5, 4.0), FEATURES[1].name: pairs(20.0, 21.0, 22.0)}
    assert g6.bars(seen, streams=False).bars == {PLAIN: 0.0, FEATURES[1].name: 21.0}


def test_idle_is_the_gateway_at_its_defaults_under_the_spines_load_alone() -> None:
    kept = next(each.name for each in FEATURES if each.off.settings)
    asked = next(each.name for each in FEATURES if each.members)
    seen = {
        PLAIN: pairs(5.0),
        kept: pairs(0.0, base=1.0),
        asked: pairs(0.0, base=2.0),
        STREAMED: pairs(0.0, base=3.0),
    }
    assert g6.idle_us(seen) == [100.0]


@pytest.mark.parametrize(("idle_us", "is_met"), [(90.0, True), (106.0, True), (106.1, False)])
def test_idle_may_be_five_microseconds_and_its_error_above_the_spine(idle_us: float, is_met: bool) -> None:
    faults = g6.judge(Middle(idle_us, 1.0), SPINE, {PLAIN: pairs(0.0, 0.0)}, {})
    assert (not faults) is is_met


def test_a_feature_that_could_not_be_measured_or_failed_or_was_disturbed_is_told() -> None:
    broken = [Pair(turn(1.0), turn(1.0, errors=3.0))]
    disturbed = [Pair(turn(1.0, foreign_cores=0.5), turn(1.0, foreign_cores=0.5))]
    faults = g6.judge(Middle(100.0, 1.0), SPINE, {"a": broken, "b": disturbed}, {"c": "no port"})
    assert faults == ["not measured: c: no port", "a: 3 errors", "b: others burnt 0.50 cores"]


def test_the_spine_is_read_from_its_record_and_must_be_there() -> None:
    rungs = Table(title=g6.RUNGS, columns=("rung", "µs"), rows=(("net", 20.0), (g6.WHOLE, 101.5)))
    figures: dict[str, Any] = {"floor": {"cpu_us": 14.5}}
    made: Record = run(Line("S11", "t", lambda _: Result(figures, "met", "", (rungs,))))
    spine = g6.spine_of([msgspec.structs.replace(made, id="S10"), made])
    assert (spine.whole_us, spine.floor_us, spine.commit) == (101.5, 14.5, made.commit)
    with pytest.raises(LookupError, match="S11"):
        g6.spine_of([])


def test_a_feature_says_the_same_on_both_sides_unless_the_wish_is_the_callers() -> None:
    assert len({each.name for each in FEATURES}) == len(FEATURES)
    for each in FEATURES:
        assert each.on != each.off or each is FEATURES[0]
        body = payload.request_body("m", stream=False, words=each.words, members=each.members)
        assert abs(len(body) - payload.REQUEST_BYTES) <= 40


def test_the_anthropic_door_is_asked_the_same_question() -> None:
    ours = msgspec.json.decode(payload.request_body("m", stream=True))
    theirs = msgspec.json.decode(payload.messages_body("m", stream=True))
    assert [theirs["system"], theirs["messages"][0]["content"]] == [
        each["content"] for each in ours["messages"]
    ]
    assert theirs["stream"] is True


def test_an_answer_in_json_is_as_long_as_the_other_and_fits() -> None:
    body = payload.reply_body(is_json=True)
    said = msgspec.json.decode(msgspec.json.decode(body)["choices"][0]["message"]["content"])
    assert set(said) == {"answer", "days"}
    assert len(body) == len(payload.reply_body()) == payload.REPLY_BYTES
