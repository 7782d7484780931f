"""Live views: they outlive a restart of the server, never paint too often, and end with Ctrl-C as people end them."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading

import pytest
from rich.console import Console

from penstock.cli import live
from penstock.cli.live import FIRST_DELAY_S, LONGEST_DELAY_S, follow, paint, together
from penstock.kernel import errors
from penstock.sdk.requests import Overview, Pressure, RequestView
from tests.support import run
from tests.unit.cli.far import CEILING_S, HOLD, environment, event, terminal

DISK = Pressure(name="Disk of the data folder", percent=71.0, detail="Little is free.", remedy="Make room.")
NOW = Overview(at_s=1_795_252_800.0, org="acme", today_nanos=41_870_000_000, pressures=(DISK,))
ONE = RequestView(request_id="req_1", at_s=1.0, outcome="ok", team="search", model="gpt-4o", status=200)
SHOW_CURSOR, HIDE_CURSOR, ALTERNATE = b"\x1b[?25h", b"\x1b[?25l", b"\x1b[?1049h"


class Stream:
    """A stream that gives its values, then raises an error or ends."""

    skipped = 0

    def __init__(self, *values: object) -> None:
        self.values = list(values)

    async def __aenter__(self):
        if self.values and isinstance(self.values[0], errors.PenstockError):
            raise self.values[0]
        return self

    async def __aexit__(self, *_: object) -> None: ...

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.values:
            raise StopAsyncIteration
        value = self.values.pop(0)
        if isinstance(value, errors.PenstockError):
            raise value
        return value


def followed(*streams: Stream) -> tuple[list[object], list[str], list[float], BaseException | None]:
    """Follow streams until they are used up; returns what was seen, said and waited, and what it ended with."""
    seen, said, waited, left = [], [], [], list(streams)

    async def sleep(delay_s: float) -> None:
        waited.append(delay_s)
        if not left:
            raise asyncio.CancelledError

    async def all_of() -> None:
        await follow(lambda: left.pop(0), lambda value, _: seen.append(value), said.append, sleep=sleep)

    try:
        run(all_of())
    except (errors.PenstockError, asyncio.CancelledError) as error:
        return seen, said, waited, error
    raise AssertionError


DOWN = errors.Unavailable("No Penstock answers there.", code="server_down")


def test_a_restart_is_said_waited_for_and_the_values_go_on():
    seen, said, waited, _ = followed(Stream(1, 2), Stream(DOWN), Stream(3))
    assert seen == [1, 2, 3]
    assert said == [
        f"{live.RESTARTING} Trying again in 0.5 s.",
        "No Penstock answers there. Trying again in 1 s.",
        "",
        f"{live.RESTARTING} Trying again in 2 s.",
    ]
    assert waited == [0.5, 1.0, 2.0]


def test_the_delay_grows_to_its_bound_and_no_further():
    _, _, waited, _ = followed(Stream(1), *(Stream(DOWN) for _ in range(8)))
    assert waited[0] == FIRST_DELAY_S
    assert max(waited) == waited[-1] == LONGEST_DELAY_S
    assert waited == sorted(waited)


@pytest.mark.parametrize("refusal", [errors.Unauthenticated(), errors.Forbidden(), errors.NotFound()])
def test_what_is_refused_is_not_asked_for_again(refusal):
    seen, said, waited, error = followed(Stream(1, refusal), Stream(2))
    assert (seen, said, waited, error) == ([1], [], [], refusal)


def test_a_server_that_was_never_there_is_an_error_at_once():
    assert followed(Stream(DOWN))[1:] == ([], [], DOWN)


def test_a_picture_is_painted_at_most_four_times_a_second_and_always_the_latest():
    painted, pauses = [], []
    latest = {"n": 0}

    async def sleep(delay_s: float) -> None:
        pauses.append(delay_s)
        for _ in range(10):  # ten changes while it pauses are one repaint
            latest["n"] += 1
            changed.set()
        if len(pauses) == 5:
            raise asyncio.CancelledError

    def draw() -> str:
        painted.append(latest["n"])
        return str(latest["n"])

    changed = asyncio.Event()
    changed.set()
    with pytest.raises(asyncio.CancelledError):
        run(paint(Console(quiet=True), draw, changed, sleep=sleep))
    assert painted == [0, 10, 20, 30, 40]
    assert pauses == [live.REPAINT_S] * 5
    assert live.REPAINT_S >= 0.25


def test_whoever_ends_first_ends_the_others_and_its_error_is_told():
    ended = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    async def fails() -> None:
        raise errors.Forbidden

    with pytest.raises(errors.Forbidden):
        run(together(waits(), fails()))
    assert ended == [1]


# ---------------------------------------------------------------------------------------------------- on a terminal


def test_ctrl_c_ends_a_live_status_well_and_leaves_the_terminal_as_it_was(far):
    far.answers["GET /overview/live"] = [[event("overview", NOW), HOLD]]
    with terminal(far.url, "status", "--live") as it:
        it.until(b"Disk of the data folder")
        it.press(b"\x03")
        assert it.end() == 0
        assert it.seen.rfind(SHOW_CURSOR) > it.seen.rfind(HIDE_CURSOR) >= 0
        assert ALTERNATE not in it.seen
        assert b"Traceback" not in it.seen


def test_the_second_screen_is_used_only_when_asked_for(far):
    far.answers["GET /overview/live"] = [[event("overview", NOW), HOLD]]
    with terminal(far.url, "status", "-l", "--full-screen") as it:
        it.until(b"Disk of the data folder")
        it.press(b"\x03")
        assert it.end() == 0
        assert it.seen.count(ALTERNATE) == it.seen.count(b"\x1b[?1049l") == 1


def test_a_live_status_says_that_the_server_restarts_and_goes_on(far):
    later = event("overview", Overview(at_s=1.0, org="later"))
    far.answers["GET /overview/live"] = [[event("overview", NOW), 0.3], [later, HOLD]]
    with terminal(far.url, "status", "--watch", columns=60) as it:
        it.until(b"stops or restarts")
        it.until(b"later")
        it.press(b"\x03")
        assert it.end() == 0


def test_sigterm_shows_the_cursor_again_and_is_told(far):
    far.answers["GET /overview/live"] = [[event("overview", NOW), HOLD]]
    with terminal(far.url, "status", "--live") as it:
        it.until(b"Disk of the data folder")
        it.process.send_signal(signal.SIGTERM)
        assert it.end() == 128 + signal.SIGTERM
        assert it.seen.rfind(SHOW_CURSOR) > it.seen.rfind(HIDE_CURSOR) >= 0


def test_tail_shows_a_line_per_request_what_was_skipped_and_ends_with_ctrl_c(far):
    second = RequestView(
        request_id="req_2", at_s=2.0, outcome="failed", model="gpt-4o", status=502, error="upstream"
    )
    pieces = [event("request", ONE), event("skipped", {"count": 1_234}), event("request", second), HOLD]
    far.answers["GET /requests/live"] = [pieces]
    with terminal(far.url, "requests", "tail", "--team", "search", "--outcome", "ok") as it:
        it.until(b"upstream")
        it.press(b"\x03")
        assert it.end() == 0
        assert "… 1,234 more were not shown".encode() in it.seen
        assert b"req_1" in it.seen
    assert far.queries("GET /requests/live") == [
        {"team": "search", "outcome": "ok", "since_s": "0.0", "until_s": "0.0"}
    ]


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("NO_COLOR", "0")])
def test_no_color_means_none(far, name, value):
    far.answers["GET /requests/live"] = [[event("request", ONE), HOLD]]
    for env, coloured in (({name: value}, False), ({}, True)):
        with terminal(far.url, "requests", "tail", **env) as it:
            it.until(b"req_1")
            it.press(b"\x03")
            assert it.end() == 0
            assert (b"\x1b[32m" in it.seen) is coloured


@pytest.mark.parametrize("words", [("requests", "tail"), ("status", "--live")])
def test_a_view_that_never_began_is_an_error_at_once(far, words):
    for refusal, code in ((errors.Forbidden(), 3), (errors.Overloaded(), 6)):
        far.answers["GET /requests/live"] = far.answers["GET /overview/live"] = refusal
        with terminal(far.url, *words) as it:
            assert it.end() == code


# ---------------------------------------------------------------------------------------------------------- in a pipe


def piped(far, *words: str, lines: int) -> tuple[list[str], int, str]:
    """Run a live command in a pipe, read so many lines, then press Ctrl-C; returns lines, exit code, complaints."""
    command = [sys.executable, "-m", "penstock.cli", *words]
    with subprocess.Popen(
        command, env=environment(far.url), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as it:
        ceiling = threading.Timer(CEILING_S, it.kill)
        ceiling.start()
        read = [it.stdout.readline() for _ in range(lines)]
        ceiling.cancel()
        it.send_signal(signal.SIGINT)
        rest, complaints = it.communicate(timeout=CEILING_S)
        assert rest == ""
        return read, it.returncode, complaints


def test_in_a_pipe_a_live_status_is_one_line_per_change_without_a_colour(far):
    other = Overview(at_s=1.0, org="other")
    far.answers["GET /overview/live"] = [[event("overview", NOW), event("overview", other), HOLD]]
    (first, second), code, _ = piped(far, "status", "--live", lines=2)
    assert first.startswith("09:20:00  acme  today $41.87  ")
    assert first.endswith("first: Disk of the data folder 71 %\n")
    assert "other" in second
    assert "\x1b" not in first + second
    assert code == 0


@pytest.mark.parametrize(
    ("words", "route", "name", "values"),
    [
        (("status", "--live"), "GET /overview/live", "overview", (NOW, Overview(at_s=1.0))),
        (
            ("requests", "tail"),
            "GET /requests/live",
            "request",
            (ONE, RequestView(request_id="req_2", at_s=2.0)),
        ),
    ],
)
def test_with_json_each_event_is_one_object_on_a_line_at_once(far, words, route, name, values):
    far.answers[route] = [[*(event(name, value) for value in values), HOLD]]
    lines, code, complaints = piped(far, *words, "--json", lines=2)
    told = [json.loads(line) for line in lines]
    assert [each["at_s"] for each in told] == [value.at_s for value in values]
    assert (code, complaints) == (0, "")


def test_a_restart_is_said_beside_the_lines_not_among_them(far):
    far.answers["GET /requests/live"] = [[event("request", ONE)], [event("request", ONE), HOLD]]
    lines, code, complaints = piped(far, "requests", "tail", "--json", lines=2)
    assert [json.loads(line)["request_id"] for line in lines] == ["req_1"] * 2
    assert (code, complaints.splitlines()) == (
        0, [f"penstock: {live.RESTARTING} Trying again in 0.5 s.", "penstock: Connected again."],
    )  # fmt: skip


def test_whoever_stops_reading_ends_it_without_a_complaint(far):
    many = [event("request", ONE)] * 3_000
    far.answers["GET /requests/live"] = [[*many, HOLD]]
    command = f"{sys.executable} -m penstock.cli requests tail | head -n 2; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        check=False, env=environment(far.url), capture_output=True, text=True, timeout=CEILING_S,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2


def test_neither_does_a_short_answer_that_nobody_reads(far):
    far.answers["GET /keys"] = ()
    command = f"{sys.executable} -m penstock.cli keys list --json | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        check=False, env=environment(far.url), capture_output=True, text=True, timeout=CEILING_S,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
