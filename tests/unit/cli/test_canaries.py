"""`penstock canaries`: both sides and the evidence as a table, a verdict as a sentence, live as one line per change."""

from __future__ import annotations

import json

from penstock.kernel.errors import NotFound
from penstock.sdk.routing import Canaries, Canary, CanaryArm, CanaryEvidence
from tests.unit.cli.far import HOLD, event, terminal

ON_TRIAL = Canary(
    route="chat",
    state="on trial",
    percent=10,
    labels=("sim/new",),
    production=("sim/old",),
    control=CanaryArm(calls=1_000, failed=3, latency_ms=812.0),
    newcomer=CanaryArm(calls=110, failed=11, latency_ms=799.0, scores=4, score=0.75),
    evidence=(
        CanaryEvidence(metric="errors", evidence=14.2, bound=200.0),
        CanaryEvidence(metric="quality", evidence=1.0, bound=500.0),
    ),
)
OUT = Canary(
    route="code", state="rolled back", percent=0, labels=("sim/x",), why="errors: canary 9 of 9 failed"
)


def test_both_sides_are_shown_with_the_evidence_and_a_verdict_with_its_reason(far, penstock):
    far.answers["GET /routing/canaries"] = Canaries(canaries=(ON_TRIAL, OUT))
    code, said, _ = penstock("canaries")
    assert code == 0 and "chat: on trial, 10 % to sim/new" in said
    [errors] = [line for line in said.splitlines() if line.startswith("errors ")]
    assert "3 of 1,000 (0.3 %)" in errors and "11 of 110 (10 %)" in errors and "14.2 of 200" in errors
    assert "█████▏" in errors  # half way to 200, as evidence multiplies
    assert "no scores" in said and "0.75 of 4 scores" in said
    assert "code: rolled back, 0 % to sim/x\nerrors: canary 9 of 9 failed" in said
    code, said, _ = penstock("canaries", "--json")
    assert json.loads(said)["canaries"][0]["evidence"][0]["bound"] == 200.0


def test_without_a_canary_it_says_what_to_do_and_without_a_judge_why(far, penstock):
    far.answers["GET /routing/canaries"] = Canaries()
    assert "config routes apply" in penstock("canaries")[1]
    far.answers["GET /routing/canaries"] = NotFound("Canaries are not judged here.", code="canaries_off")
    code, _, complaint = penstock("canaries")
    assert code and "Canaries are not judged here." in complaint


def test_live_shows_a_picture_until_it_is_ended(far):
    far.answers["GET /routing/canaries/live"] = [[event("canaries", Canaries(canaries=(ON_TRIAL,))), HOLD]]
    with terminal(far.url, "canaries", "--live") as it:
        it.until(b"14.2 of 200")
        it.press(b"\x03")
        assert it.end() == 0
