"""What a feature costs is a difference of pairs, with its error, and is judged as it is told."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path

import msgspec
import pytest

from tests.bench import payload
from tests.bench.features import FEATURES
from tests.bench.peers import penstock_spine
from tests.bench.peers.base import NotRunnable
from tests.bench.turns import Middle, Pair, Turn, middle
from tests.evidence import g6_features as g6

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


@pytest.mark.parametrize(("more_us", "is_met"), [(-9.0, True), (6.0, True), (6.1, False)])
def test_idle_may_cost_five_microseconds_and_its_error_more_than_the_spine(
    more_us: float, is_met: bool
) -> None:
    faults = g6.judge(Middle(more_us, 1.0), pairs(more_us), {PLAIN: pairs(0.0, 0.0)}, {})
    assert (not faults) is is_met


def test_a_feature_that_could_not_be_measured_or_failed_or_was_disturbed_is_told() -> None:
    broken = [Pair(turn(1.0), turn(1.0, errors=3.0))]
    disturbed = [Pair(turn(1.0, foreign_cores=0.5), turn(1.0, foreign_cores=0.5))]
    faults = g6.judge(Middle(0.0, 1.0), broken, {"a": broken, "b": disturbed}, {"c": "no port"})
    assert faults == [
        "not measured: c: no port",
        "beside the spine: 3 errors",
        "a: 3 errors",
        "b: others burnt 0.50 cores",
    ]


def test_the_spine_is_taken_from_the_history_as_it_was_and_must_be_there(tmp_path: Path) -> None:
    history, taken = tmp_path / "history", tmp_path / "taken"
    source = history / "src" / "penstock" / "it.py"
    source.parent.mkdir(parents=True)

    def git(*words: str) -> str:
        who = ("-c", "user.name=Kim", "-c", "user.email=kim@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *who, *words], cwd=history, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    for words in ("then", "now"):
        source.write_text(words)
        git("add", "-A")
        git("commit", "-qm", words)
    penstock_spine.unpack(git("rev-parse", "HEAD~1"), taken, history)
    assert (taken / "src" / "penstock" / "it.py").read_text() == "then"
    with pytest.raises(NotRunnable, match="not in this history"):
        penstock_spine.unpack("0" * 40, taken, history)


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
