"""A request leaves as its tenant's policy says: allowed, flagged, masked, replaced or refused; in time or counted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from penstock.kernel.chat import ChatRequest, Image, Message, Text
from penstock.kernel.clock import ManualClock
from penstock.kernel.errors import PolicyRefused, Unavailable
from penstock.kernel.findings import Finding
from penstock.mechanisms.redaction import late
from penstock.mechanisms.redaction.policy import (
    BUDGET_MS_MAX,
    SKIP_LEAST,
    Action,
    RedactionPolicy,
    Tally,
    faults,
)
from penstock.mechanisms.redaction.redactor import Recogniser, Redacted, Redactor
from penstock.mechanisms.redaction.scanner import PIECE_CHARS, Scanner
from tests.support import run

SCANNER = Scanner()
WORDS = (
    "I am Ann. Write to ann@example.com or bob@example.com, not ann@example.com; "
    "card 4111 1111 1111 1111; ip 10.20.30.40"
)


class SlowClock(ManualClock):
    """A clock on which each look takes so many seconds."""

    def __init__(self, step_s: float) -> None:
        super().__init__()
        self.step_s = step_s

    def monotonic_s(self) -> float:
        self.advance(self.step_s)
        return super().monotonic_s()


class Names:
    """A second engine that knows Ann; `fault` is raised, `forever` never answers."""

    entities = frozenset({"PERSON"})

    def __init__(self, fault: Exception | None = None, *, forever: bool = False) -> None:
        self.fault = fault
        self.forever = forever
        self.languages: Sequence[str] = ()

    async def find(
        self, texts: Sequence[str], languages: Sequence[str], entities: frozenset[str]
    ) -> list[list[Finding]]:
        assert entities == self.entities
        self.languages = languages
        if self.forever:
            await asyncio.Event().wait()
        if self.fault is not None:
            raise self.fault
        at = [text.find("Ann") for text in texts]
        return [[Finding(each, each + 3, "PERSON", 0.85)] if each >= 0 else [] for each in at]


class Rig:
    """A redactor and what was told afterwards."""

    def __init__(self, step_s: float = 0.0, recogniser: Recogniser | None = None) -> None:
        self.told: list[tuple[str, dict[str, int]]] = []
        clock = SlowClock(step_s)
        self.tally = Tally(clock)
        self.redactor = Redactor(SCANNER, clock, self.tally, self._hear, recogniser)

    def _hear(self, request_id: str, counts: Mapping[str, int]) -> None:
        self.told.append((request_id, dict(counts)))

    def read(self, words: str, **policy: object) -> Redacted:
        """Read one user message."""
        return run(self.both(asked(words), **policy))

    async def both(self, request: ChatRequest, **policy: object) -> Redacted:
        """Read, then let the late scans finish."""
        result = await self.redactor.read(request, RedactionPolicy(**policy), "req_1")  # pyright: ignore[reportArgumentType]  # the cases name fields
        while self.redactor.late.waiting:
            await asyncio.sleep(0)
        return result


def asked(words: str) -> ChatRequest:
    """Return a request of one user message."""
    return ChatRequest(model="m", messages=(Message(role="user", content=(Text(words),)),))


def said(result: Redacted) -> str:
    """Return the words of the one message."""
    part = result.request.messages[0].content[0]
    assert isinstance(part, Text)
    return part.text


def test_each_action_does_what_it_says() -> None:
    rig = Rig()
    result = rig.read(WORDS, requests={"EMAIL": Action.REPLACE, "CARD": Action.MASK, "IP": Action.FLAG})
    assert said(result) == (
        "I am Ann. Write to <EMAIL_1> or <EMAIL_2>, not <EMAIL_1>; card <CARD>; ip 10.20.30.40"
    )
    assert (result.found, result.flagged, result.skipped) == (
        {"EMAIL": 3, "CARD": 1, "IP": 1},
        ("IP",),
        False,
    )
    assert result.vault is not None
    assert result.vault.restore("<EMAIL_2> <CARD>") == "bob@example.com <CARD>"
    assert rig.tally.found == {
        ("request", "EMAIL", "replace"): 3,
        ("request", "CARD", "mask"): 1,
        ("request", "IP", "flag"): 1,
    }


@pytest.mark.parametrize("requests", [{}, {"EMAIL": Action.ALLOW}])
def test_what_the_policy_does_not_name_is_not_even_sought(requests: dict[str, Action]) -> None:
    rig = Rig()
    request = asked(WORDS)
    result = run(rig.both(request, requests=requests))
    assert result.request is request
    assert rig.tally.requests == 0


def test_a_request_without_findings_is_the_same_object_without_a_vault() -> None:
    request = asked("Good morning.")
    result = run(Rig().both(request, requests={"EMAIL": Action.REPLACE}))
    assert result.request is request
    assert result.vault is None


def test_a_refusal_names_the_entities_and_never_the_value() -> None:
    rig = Rig()
    with pytest.raises(PolicyRefused) as caught:
        rig.read(WORDS, requests={"CARD": Action.REFUSE, "IP": Action.REFUSE, "EMAIL": Action.MASK})
    assert "CARD, IP" in str(caught.value)
    assert "4111" not in str(caught.value)
    assert caught.value.reason == "personal_data_refused"
    assert rig.tally.refused == 1


def test_what_nobody_reads_and_nobody_can_find_is_named() -> None:
    request = ChatRequest(
        model="m", messages=(Message(role="user", content=(Image("https://x"), Text("Ann"))),)
    )
    result = run(Rig().both(request, requests={"PERSON": Action.MASK, "EMAIL": Action.MASK}))
    assert result.unscanned == ("image", "entity PERSON")


LONG = "a " * (PIECE_CHARS // 2)
FIRST, LAST = "ann@example.com " + LONG, LONG + LONG + " 10.20.30.40"
LATE = {"requests": {"EMAIL": Action.REPLACE, "IP": Action.REPLACE}}


def test_past_the_budget_a_request_goes_on_flagged_and_is_scanned_afterwards() -> None:
    rig = Rig(step_s=0.016)  # the second look at the clock is past 30 ms
    result = rig.read(FIRST + LAST, **LATE)
    assert result.skipped
    assert said(result).startswith("<EMAIL_1> ")
    assert said(result).endswith(" 10.20.30.40")
    assert rig.told == [("req_1", {"EMAIL": 1, "IP": 1})]
    assert (rig.tally.skipped, rig.tally.late_scans) == (1, 1)
    assert rig.tally.found["late", "IP", "replace"] == 1


def test_within_the_budget_the_same_request_is_read_whole() -> None:
    rig = Rig(step_s=0.004)
    result = rig.read(FIRST + LAST, **LATE)
    assert not result.skipped
    assert said(result).endswith(" <IP_1>")
    assert rig.told == []


def test_past_the_budget_a_request_is_refused_if_the_policy_says_so() -> None:
    rig = Rig(step_s=0.016)
    with pytest.raises(PolicyRefused) as caught:
        rig.read(FIRST + LAST, past_budget="refuse", **LATE)
    assert caught.value.reason == "scan_incomplete"
    assert (rig.tally.skipped, rig.tally.refused, rig.told) == (1, 1, [])


def test_late_scans_are_bounded_and_what_does_not_fit_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "WAITING_CHARS", 10)
    rig = Rig(step_s=0.016)
    assert rig.read(FIRST + LAST, **LATE).skipped
    assert (rig.tally.late_dropped, rig.tally.late_scans) == (1, 0)


def test_a_late_scan_that_fails_does_not_end_the_others() -> None:
    rig = Rig()
    failing = iter([True, False])

    async def scan(texts: tuple[str, ...], policy: RedactionPolicy) -> list[list[Finding]]:
        if next(failing):
            raise TimeoutError
        return [[Finding(0, 1, "EMAIL")]]

    async def both() -> None:
        queue = late.LateScans(scan, rig.tally, rig._hear)
        policy = RedactionPolicy(requests={"EMAIL": Action.FLAG})
        assert queue.offer("a", ("x",), policy)
        assert queue.offer("b", ("x",), policy)
        while queue.waiting:
            await asyncio.sleep(0)
        await queue.close()

    run(both())
    assert (rig.tally.late_failed, rig.told) == (1, [("b", {"EMAIL": 1})])


def test_names_are_found_by_the_second_engine_in_the_tenants_languages() -> None:
    names = Names()
    result = Rig(recogniser=names).read(WORDS, requests={"PERSON": Action.REPLACE}, languages=("de", "en"))
    assert said(result).startswith("I am <PERSON_1>. Write to ann@")
    assert result.unscanned == ()
    assert names.languages == ("de", "en")


@pytest.mark.parametrize("names", [Names(Unavailable("gone")), Names(forever=True)])
def test_a_second_engine_that_fails_or_is_late_is_a_skip_and_not_a_silence(names: Names) -> None:
    rig = Rig(recogniser=names)
    result = run(
        rig.redactor.read(asked(WORDS), RedactionPolicy(requests={"PERSON": Action.MASK}, budget_ms=1.0))
    )
    assert result.skipped
    assert rig.tally.engine_failures >= 1


def test_the_skip_rate_is_of_the_last_ten_minutes() -> None:
    clock = ManualClock()
    tally = Tally(clock)
    for count in range(SKIP_LEAST):
        tally.scanned(skipped=count == 0)
    assert (tally.skip_rate(), tally.measured_rate()) == (0.01, 0.01)
    tally.scanned(skipped=True)
    assert tally.measured_rate() > 0.01
    clock.advance(660)
    assert (tally.skip_rate(), tally.measured_rate(), tally.skipped) == (0.0, 0.0, 2)


def test_a_policy_reports_all_its_mistakes_at_once() -> None:
    wrong = RedactionPolicy(
        requests={"PERSON": Action.MASK, "EMAIL": Action.MASK, "NAME": Action.ALLOW},
        answers={"CARD": Action.REPLACE},
        languages=(),
        budget_ms=BUDGET_MS_MAX + 1,
    )
    assert [line.partition(":")[0] for line in faults(wrong)] == [
        "requests.PERSON",
        "answers.CARD",
        "budget_ms",
        "languages",
    ]
    assert faults(RedactionPolicy(requests={"PERSON": Action.MASK}), frozenset({"PERSON"})) == []
    assert faults(RedactionPolicy(budget_ms=0.0)) != []
