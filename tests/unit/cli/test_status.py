"""`penstock status`: what breaks first, at every width; what cannot be told does not hide what can."""

from __future__ import annotations

import io
import json

import pytest
from msgspec import structs
from rich.cells import cell_len
from rich.console import Console

from penstock.cli.overview import NARROWEST, picture, summary
from penstock.kernel import errors
from penstock.sdk.replies import Status
from penstock.sdk.requests import ErrorCounts, Latency, Moment, Overview, Pressure, RequestView, SpendRow

STATUS = Status(
    version="1.2.3", uptime_s=7_200.0, draining=False, dependencies={"ledger": True, "state": False}, in_flight=3,
    connections=5, providers={"openai": 4}, breakers={"openai/gpt-4o": "open"}, models=4, unpriced={"x": "no price"},
    audit_waiting=0, audit_dropped=0,
)  # fmt: skip
FULL = Pressure(name="openai/gpt-4o is given a rest", detail="It failed.", percent=100.0, remedy="See why.")
NEAR = Pressure(name="Budget of team search", percent=97.7, eta_s=1_340.0)
BUDGET = SpendRow(
    account="org:acme/team:search@2026-11-21", level="team", window="day", limit_nanos=20 * 10**9,
    posted_nanos=19 * 10**9, held_nanos=5 * 10**8, room_nanos=5 * 10**8, hard=True, percent=97.5, eta_s=1_340.0,
)  # fmt: skip
NOW = Overview(
    at_s=1_795_252_800.0, org="acme", today_nanos=41_870_000_000, month_nanos=318_420_000_000, in_flight=17,
    pressures=(FULL, NEAR), spend=(BUDGET,),
    latency=Latency(window_s=900.0, requests=10, p50_ms=912.0, p95_ms=4_310.0, p99_ms=9_870.0, first_p50_ms=276.0),
    errors=ErrorCounts(requests=2_930, refused=58, failed=31, by_code={"timeout": 31, "rate": 58}),
    series=tuple(Moment(at_s=float(n), requests=n) for n in range(90)),
    live=tuple(RequestView(request_id=f"req_{n}", at_s=1.0, model="gpt-4o") for n in range(12)),
)  # fmt: skip


def drawn(now: Overview, width: int, height: int = 0, state: str = "") -> list[str]:
    page = io.StringIO()
    Console(file=page, width=width).print(picture(now, width=width, height=height, state=state))
    return page.getvalue().splitlines()


def test_what_breaks_first_is_first_with_what_to_do():
    lines = drawn(NOW, 80)
    title = next(n for n, line in enumerate(lines) if line.startswith("What breaks first"))
    assert "openai/gpt-4o is given a rest" in lines[title + 1]
    assert "Budget of team search" in lines[title + 2]
    assert "in 22 min" in lines[title + 2]
    assert "See why." in lines[title + 3]


def test_latency_errors_spending_and_budgets_are_told():
    told = "\n".join(drawn(NOW, 100))
    for part in (
        "today $41.87", "month $318.42", "17 under way", "912 ms", "4.31 s", "9.87 s", "276 ms", "–",
        "31 failed, 58 refused of 2,930 (3.0 %)", "rate 58  timeout 31", "team:search, day", "$19.50 of $20.00",
    ):  # fmt: skip
        assert part in told


@pytest.mark.parametrize("width", [60, 61, 72, 80, 100, 133, 200])
@pytest.mark.parametrize("height", [0, 24, 60])
def test_no_line_is_wider_than_the_terminal_and_the_figures_are_there(width, height):
    lines = drawn(NOW, width, height, state="The server stops. Trying again in 2 s.")
    assert max(map(cell_len, lines)) <= width
    told = "\n".join(lines)
    for part in ("98 %", "openai/gpt-4o is given a rest", "9.87 s", "today $41.87", "Trying again"):
        assert part in told


def test_what_is_too_long_is_cut_and_not_wrapped():
    codes = {f"a_rather_long_code_{n}": 3 for n in range(9)}
    lines = drawn(structs.replace(NOW, errors=ErrorCounts(requests=99, failed=27, by_code=codes)), 60)
    (place,) = [n for n, line in enumerate(lines) if line.startswith("Errors")]
    assert lines[place].endswith("…")
    assert lines[place + 1].strip() == ""


@pytest.mark.parametrize("height", [18, 24, 40, 60])
def test_it_fits_the_height_and_shows_requests_where_there_is_room(height):
    assert len(drawn(NOW, 80, height)) <= height
    assert ("Latest requests" in "\n".join(drawn(NOW, 80, height))) is (height > 18)


def test_a_first_start_says_what_to_do():
    told = "\n".join(drawn(Overview(at_s=1.0, org="acme"), NARROWEST))
    assert "Nothing presses." in told
    assert "no requests yet" in told
    assert "penstock teams set team search --day 5.00" in told


def test_the_summary_is_one_line():
    assert "\n" not in summary(NOW).plain
    assert summary(NOW).plain.endswith("first: openai/gpt-4o is given a rest 100 %")
    assert summary(Overview(at_s=1.0)).plain.endswith("nothing presses")


def test_status_shows_the_server_and_the_overview(far, penstock):
    far.answers |= {"GET /status": STATUS, "GET /overview": NOW}
    code, out, _ = penstock("status", "--org", "acme")
    assert code == 0
    for part in ("1.2.3", "state", "openai/gpt-4o", "no price", "What breaks first", "912 ms"):
        assert part in out
    assert far.queries("GET /overview") == [{"org": "acme"}]


def test_programs_find_what_they_found_before_and_the_overview_beside(far, penstock):
    far.answers |= {"GET /status": STATUS, "GET /overview": NOW}
    told = json.loads(penstock("status", "--json")[1])
    assert (told["version"], told["providers"], told["in_flight"]) == ("1.2.3", {"openai": 4}, 3)
    assert told["overview"]["pressures"][0]["name"] == FULL.name


@pytest.mark.parametrize("gone", [errors.Unavailable("No traces."), errors.NotFound(), errors.Forbidden()])
def test_without_an_overview_the_rest_is_told_and_why(far, penstock, gone):
    far.answers |= {"GET /status": STATUS, "GET /overview": gone}
    code, out, _ = penstock("status")
    assert code == 0
    assert "1.2.3" in out
    assert f"No overview: {gone.message}" in out
    assert json.loads(penstock("status", "--json")[1])["overview"] is None
