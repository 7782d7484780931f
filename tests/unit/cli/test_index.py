"""`penstock index` and `penstock plan`: what is sent, what is told when something fails, how figures may be written."""

from __future__ import annotations

import json

import pytest

from penstock.cli import index_files
from penstock.cli.index_files import Failed, File, batches, files_of
from penstock.cli.main import main


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


def test_all_well_is_zero_and_no_wait_asks_for_no_job(server, penstock, tmp_path):
    (tmp_path / "a.md").write_text("# A")
    assert penstock("index", "add", "guides", "a.md", "--no-wait")[0] == 0
    assert not server.queries("GET /v1/collections/guides/jobs/job_1")


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
