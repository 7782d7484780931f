"""`penstock index` and `penstock plan`: what is sent, what is told when something fails, how figures may be written."""

from __future__ import annotations

import json
import os

import pytest

from penstock.cli import index_files, index_sending
from penstock.cli.index_files import Failed, File, batches, files_of
from penstock.cli.main import main
from penstock.kernel.errors import OverLimit, Unavailable


@pytest.fixture
def server(far):
    """Collections behind a table of routes: one that is there, a job that ends partly."""
    counts = {"documents": 2, "done": 1, "failed": 1, "chunks": 4}
    far.answers |= {
        "GET /v1/collections/guides": {"id": "col_1", "name": "guides", "model": "m", "space": "m@1"},
        "POST /v1/collections/guides/bulk": {"id": "job_1", "status": "queued", "counts": {}},
        "GET /v1/collections/guides/jobs/job_1": {
            "id": "job_1", "status": "partial", "counts": counts,
            "failures": [{"line": 2, "code": "unsupported_type", "message": "This is an image."}],
        },
    }  # fmt: skip
    return far


def test_a_file_that_is_not_indexed_is_named_and_the_exit_code_says_so(server, penstock, tmp_path):
    (tmp_path / "a.md").write_text("# A")
    (tmp_path / "b.png").write_bytes(b"\x89PNG")
    code, said, _ = penstock("index", "add", "guides", "a.md", "b.png", "gone.md")
    assert code == 1
    [line] = [line for line in said.splitlines() if line.startswith("b.png")]
    assert "unsupported_type" in line and "This is an image." in line
    assert any(line.startswith("gone.md") and "No such file" in line for line in said.splitlines())
    told = json.loads(penstock("index", "add", "guides", "a.md", "b.png", "--json")[1])
    assert [each["document"] for each in told["failed"]] == ["b.png"]
    assert told["jobs"][0]["status"] == "partial"


def test_a_file_that_is_indexed_in_part_is_named_with_what_was_left_out(server, penstock, tmp_path):
    (tmp_path / "a.md").write_text("# A")
    failure = {"document": "a.md", "code": "indexed_in_part", "message": "It is indexed without: page 3."}
    server.answers["GET /v1/collections/guides/jobs/job_1"] = {
        "id": "job_1", "status": "partial", "counts": {"documents": 1, "in_part": 1, "chunks": 4},
        "failures": [failure],
    }  # fmt: skip
    code, said, _ = penstock("index", "add", "guides", "a.md")
    assert code == 1 and "It is indexed without: page 3." in said
    lines = {" ".join(line.split()) for line in said.splitlines()}
    assert {"in part 1", "failed 0"} <= lines


def test_all_well_is_zero_and_no_wait_asks_for_no_job(server, penstock, tmp_path):
    (tmp_path / "a.md").write_text("# A")
    assert penstock("index", "add", "guides", "a.md", "--no-wait")[0] == 0
    assert not server.queries("GET /v1/collections/guides/jobs/job_1")


def three(folder) -> None:
    for name in "abc":
        (folder / f"{name}.md").write_text(name)


def told(name: str, status: str = "complete") -> dict[str, object]:
    return {"id": name, "status": status, "counts": {"documents": 1, "done": 1}}


BULK = "POST /v1/collections/guides/bulk"
FULL = OverLimit("The project has as many open jobs as it may.", code="too_many_jobs", retry_after_s=0.01)


def test_as_many_open_jobs_as_there_may_be_are_waited_for(server, penstock, tmp_path, monkeypatch):
    """A folder of any size goes in: the next batch waits for one of ours."""
    monkeypatch.setattr(index_files, "BATCH_FILES", 1)
    three(tmp_path)
    job = "GET /v1/collections/guides/jobs/job_1"
    server.answers[job] = lambda _: told("job_1", "running" if len(server.queries(job)) < 3 else "complete")
    answers = [FULL, told("job_1", "queued"), FULL, told("job_2"), told("job_3")]
    server.answers[BULK] = lambda _: answers[len(server.queries(BULK)) - 1]
    code, said, _ = penstock("index", "add", "guides", "a.md", "b.md", "c.md", "--json")
    assert (code, [each["id"] for each in json.loads(said)["jobs"]]) == (0, ["job_1", "job_2", "job_3"])
    names = [name for name, _ in server.asked if name in (BULK, job)]
    assert names == [BULK, BULK, BULK, job, job, job, BULK, BULK], (
        "no room: first told to wait, then for our own"
    )


def test_room_that_never_comes_is_not_waited_for_for_ever(server, penstock, tmp_path, monkeypatch):
    monkeypatch.setattr(index_sending, "WAITS_MOST", 2)
    three(tmp_path)
    server.answers[BULK] = FULL
    code, said, _ = penstock("index", "add", "guides", "a.md", "--json")
    assert (code, len(server.queries(BULK))) == (1, 3)
    assert [each["code"] for each in json.loads(said)["failed"]] == ["too_many_jobs"]
    assert json.loads(said)["files"] == 1, "counted once"


def test_a_server_that_goes_away_ends_the_sending_and_what_was_sent_is_told(
    server, penstock, tmp_path, monkeypatch
):
    monkeypatch.setattr(index_files, "BATCH_FILES", 1)
    monkeypatch.setattr(index_sending, "PAUSE_S", 0.001)
    three(tmp_path)
    gone = Unavailable("It is away.")
    server.answers[BULK] = [gone, told("job_1", "queued"), gone]
    code, said, _ = penstock("index", "add", "guides", "a.md", "b.md", "c.md", "--json")
    found = json.loads(said)
    assert (code, [each["id"] for each in found["jobs"]]) == (1, ["job_1"])
    assert {each["document"]: each["code"] for each in found["failed"]} == {
        "b.md": "unavailable",
        "c.md": "unavailable",
        "job_1": "unavailable",
    }
    assert len(server.queries(BULK)) == 2 + index_sending.TRIES_MOST, "and then nothing more"


def test_a_job_that_cannot_be_seen_any_more_is_told_and_the_others_too(
    server, penstock, tmp_path, monkeypatch
):
    monkeypatch.setattr(index_files, "BATCH_FILES", 1)
    three(tmp_path)
    server.answers[BULK] = [told("job_gone", "queued"), told("job_2", "queued")]
    server.answers["GET /v1/collections/guides/jobs/job_2"] = told("job_2")
    code, said, _ = penstock("index", "add", "guides", "a.md", "b.md", "--json")
    found = json.loads(said)
    assert (code, [each["status"] for each in found["jobs"]]) == (1, ["queued", "complete"])
    assert [(each["document"], each["code"]) for each in found["failed"]] == [("job_gone", "not_found")]


def test_a_large_file_goes_as_it_is_with_its_labels(server, penstock, tmp_path, monkeypatch):
    monkeypatch.setattr(index_sending, "BATCH_BYTES", 10)
    (tmp_path / "a.md").write_bytes(b"x" * 11)
    raw = "POST /v1/collections/guides/documents"
    server.answers[raw] = told("job_1")
    assert penstock("index", "add", "guides", "a.md", "--acl", "hr, legal,")[0] == 0
    assert server.queries(raw) == [{"id": "a.md", "name": "a.md", "acl": "hr,legal"}]
    assert server.bodies[raw] == b"x" * 11


def test_labels_are_read_alike_where_they_are_given_and_where_they_are_asked_for(server, penstock, tmp_path):
    three(tmp_path)
    found = {"collection": "guides", "space": "m@1", "results": []}
    score = {"name": "s", "model": "m", "calibrated": False}
    server.answers["POST /v1/collections/guides/search"] = {**found, "score": score}
    assert penstock("index", "add", "guides", "a.md", "--no-wait", "--acl", " hr, legal,")[0] == 0
    assert penstock("index", "search", "guides", "q", "--acl", " hr, legal,")[0] == 0
    assert json.loads(server.bodies[BULK])["acl"] == ["hr", "legal"]
    assert json.loads(server.bodies["POST /v1/collections/guides/search"])["acl"] == ["hr", "legal"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.md").write_text("a")
    listed = os.scandir

    def refused(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refused)
    unread: list[Failed] = []
    assert [file.content for file in files_of([tmp_path], unread)] == [b"a"]
    assert unread == [Failed(f"{tmp_path}/closed", "unreadable", "Permission denied")]


def test_the_newest_jobs_are_shown_and_no_more_are_read(server, penstock):
    jobs = "GET /v1/collections/guides/jobs"
    server.answers[jobs] = {"data": [told("job_9")], "has_more": True, "last_id": "job_9"}
    code, said, _ = penstock("index", "status", "guides")
    assert code == 0 and "job_9" in said
    assert server.queries(jobs) == [{"limit": "20"}]


def test_nothing_is_deleted_that_was_not_named(server, penstock):
    for words in (("guides",), ("guides", "a.md", "--everything")):
        code, _, complaint = penstock("index", "remove", *words)
        assert code == 2 and "--everything" in complaint
    assert not [name for name, _ in server.asked if name.startswith("DELETE")]


@pytest.mark.parametrize(("text", "field"), [("year", "where"), ("=5", "where")])
def test_a_condition_that_is_none_is_refused(server, penstock, text, field):
    code, _, complaint = penstock("index", "search", "guides", "q", "--where", text)
    assert code == 2 and field in complaint


def test_hidden_files_and_links_are_left_out_and_the_order_is_kept(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    for name in ("b/two.md", "a.md", ".hidden", ".git/config"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link.md").symlink_to(tmp_path / "a.md")
    unread: list[Failed] = []
    found = [file.id.removeprefix(f"{tmp_path.as_posix()}/") for file in files_of([tmp_path], unread)]
    assert (found, unread) == (["a.md", "b/two.md"], [])


def test_batches_are_bounded_by_bytes_and_by_files(monkeypatch):
    monkeypatch.setattr(index_files, "BATCH_BYTES", 10)
    monkeypatch.setattr(index_files, "BATCH_FILES", 3)
    sizes = (5, 5, 1, 30, 1, 1, 1, 1)
    made = list(batches(File(str(n), b"x" * size) for n, size in enumerate(sizes)))
    assert [[len(file.content) for file in batch] for batch in made] == [[5, 5], [1], [30], [1, 1, 1], [1]]


def test_figures_are_read_as_people_write_them(capsys):
    assert main(["plan", "embedding", "--documents", "1.5k", "--document-tokens", "256", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["chunks"] == 1_500
    for words in (("--chunks", "many"), ("--chunks", "1", "--node-dollars-per-hour", "5.601"), ()):
        assert main(["plan", "embedding", *words]) == 2
        assert "✘" not in capsys.readouterr().out
