"""Evidence is written by running something, and the pages show it and nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from penstock.embedding.search.quality import RERANKED, VECTOR, WORDS, Measures
from penstock.wiring.measuring import Quality, Stored
from tests.evidence import __main__ as command
from tests.evidence import charts, e2_quality, registry, report
from tests.evidence.registry import Bars, Line, Record, Result, Table

MET = Result({"kills": 200, "lost": {"embedded": 0, "postgres": 0}}, "met", "nothing lost in 200 kills")
CHART = Bars(
    title="CPU per request", unit="µs", bars={"floor": 17, "ours": 68.5, "peer": 7300}, ours=("ours",)
)


async def asynchronous(quick: bool) -> Result:
    """A producer that awaits."""
    return MET


def record(identifier: str = "S1", **changes: object) -> Record:
    """Return a record of a line that was met."""
    made = registry.run(Line(identifier, "the books conserve", lambda quick: MET))
    return msgspec.structs.replace(made, **changes)


def test_a_record_says_what_ran_where_and_when() -> None:
    made = msgspec.to_builtins(record())
    assert set(made) == {
        *("id", "title", "command", "commit", "dirty", "date", "machine", "seconds"),
        *("figures", "verdict", "reason", "tables", "charts"),
    }
    assert set(made["machine"]) == {"cpu", "cores", "memory", "kernel", "python"}
    assert made["command"] == "make evidence ID=S1"
    assert made["figures"] == {"kills": 200, "lost": {"embedded": 0, "postgres": 0}}


def test_an_asynchronous_producer_is_awaited() -> None:
    assert registry.run(Line("S2", "a title", asynchronous), quick=True).verdict == "met"


def test_a_producer_that_fails_leaves_no_record(tmp_path: Path) -> None:
    def broken(quick: bool) -> Result:
        message = "no such engine"
        raise OSError(message)

    with pytest.raises(OSError, match="no such engine"):
        registry.write(registry.run(Line("S1", "a title", broken)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_is_read_back_in_order(tmp_path: Path) -> None:
    for identifier in ("S10", "S2", "S1"):
        registry.write(record(identifier), tmp_path)
    assert [r.id for r in registry.read_all(tmp_path)] == ["S1", "S2", "S10"]
    assert json.loads((tmp_path / "S2.json").read_text())["verdict"] == "met"


def test_a_file_that_is_no_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "S3.json").write_text('{"id": "S3"}')
    with pytest.raises(ValueError, match=r"S3\.json"):
        registry.read_all(tmp_path)


def test_an_unknown_id_is_refused_with_those_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "s1_kills.py").touch()
    (tmp_path / "s12_seeds.py").touch()
    assert registry.known_ids(tmp_path) == ["S1", "S12"]
    with pytest.raises(registry.UnknownEvidence, match="S1, S12"):
        registry.find("S2", tmp_path)
    assert command.main(["S99"]) == 2
    assert "S99" in capsys.readouterr().err


def test_s1_is_not_mistaken_for_s12(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, identifier in (("s1_kills", "S1"), ("s12_seeds", "S12")):
        (tmp_path / f"{name}.py").touch()
        module = ModuleType(name)
        module.__dict__.update(ID=identifier, TITLE=name, produce=asynchronous)
        monkeypatch.setitem(sys.modules, f"tests.evidence.{name}", module)
    assert registry.find("S1", tmp_path).title == "s1_kills"
    assert registry.find("S12", tmp_path).title == "s12_seeds"


@pytest.mark.parametrize(("verdict", "status"), [("met", 0), ("partly", 1), ("missed", 1)])
def test_the_exit_status_is_the_verdict_and_quick_writes_nothing(
    verdict: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written: list[Record] = []
    outcome = msgspec.structs.replace(MET, verdict=verdict)
    monkeypatch.setattr(registry, "find", lambda _: Line("S1", "a title", lambda quick: outcome))
    monkeypatch.setattr(registry, "write", written.append)
    monkeypatch.setattr(report, "write_pages", written.append)
    assert command.main(["s1", "--quick"]) == status
    assert written == []
    assert command.main(["s1"]) == status
    assert len(written) == 2
    shown, _ = json.JSONDecoder().raw_decode(capsys.readouterr().out)
    assert shown["verdict"] == verdict


def test_a_page_shows_verdict_reason_commit_and_every_figure() -> None:
    files = report.pages([record("S1"), record("S2", verdict="missed", dirty=True)], {})
    page = files["reliability.md"]
    for shown in ("✔ met", "✘ missed", "nothing lost in 200 kills", "with changes", "| kills | 200 |"):
        assert shown in page
    assert "| lost · embedded | 0 |" in page
    assert "Nothing has been run yet" in files["benchmarks.md"]


def test_a_line_that_was_never_run_is_told_in_its_place() -> None:
    """A page that shows only what was run would look as if there were nothing else."""
    titles = {"S1": "run", "S2": "not run", "S10": "run too", "E4": "on another page"}
    page = report.pages([record("S1"), record("S10")], titles)["reliability.md"]
    rows = [line for line in page.splitlines() if line.startswith("| ") and "promise" not in line][1:]
    assert [row.split(" | ")[0].strip("| ") for row in rows[:3]] == ["[S1](#s1)", "S2", "[S10](#s10)"]
    assert rows[1] == "| S2 | not run | not run yet | – | – |"
    assert "on another page" not in page and 'id="s2"' not in page
    told = registry.titles()
    assert list(told) == registry.known_ids() and told["G1"] == registry.find("G1").title


def test_benchmarks_have_their_own_page_with_tables_and_charts() -> None:
    table = Table(title="rungs", columns=("rung", "µs"), rows=(("net", 19.25), ("a|b", None)))
    files = report.pages([record("S11", charts=(CHART,), tables=(table,))], {})
    page = files["benchmarks.md"]
    assert "![CPU per request](charts/S11-cpu-per-request.svg)" in page
    assert "charts/S11-cpu-per-request.svg" in files
    assert "| net | 19.2 |" in page
    assert "a\\|b" in page
    assert "S11" not in files["reliability.md"]


def test_writing_pages_removes_charts_nobody_shows(tmp_path: Path) -> None:
    report.write_pages([record("S11", charts=(CHART,))], tmp_path)
    assert [f.name for f in (tmp_path / "charts").iterdir()] == ["S11-cpu-per-request.svg"]
    report.write_pages([record("S1")], tmp_path)
    assert list((tmp_path / "charts").iterdir()) == []


def test_bars_are_to_scale_and_a_logarithmic_axis_says_so() -> None:
    linear = Bars(title="t", unit="µs", bars={"a": 10, "b": 40, "none": 0})
    assert charts.lengths(linear) == {"a": 0.25, "b": 1, "none": 0}
    assert "logarithmic" not in charts.svg(linear)
    shares = charts.lengths(CHART)
    assert shares["peer"] == 1
    assert 0 < shares["floor"] < shares["ours"] < 1
    assert "logarithmic axis" in charts.svg(CHART)
    assert charts.lengths(Bars(title="t", unit="s", bars={"a": 0})) == {"a": 0}


def test_a_chart_escapes_its_labels_and_brings_ours_out() -> None:
    picture = charts.svg(Bars(title="a < b", unit="s", bars={"x & y": 1, "ours": 2}, ours=("ours",)))
    assert "a &lt; b" in picture
    assert "x &amp; y" in picture
    assert picture.count('class="ours"') == 1


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (7, "7"), (0.1234, "0.123"), (17.25, "17.2"), (8400, "8,400"), (12.0, "12")]
)
def test_numbers_read_well(value: float, text: str) -> None:
    assert charts.number(value) == text


def test_e2_is_not_met_where_a_single_method_ranks_better_or_misses_less() -> None:
    def found(**words: float) -> Quality:
        reranked = Measures(ndcg_10=0.8, mrr=0.9, recall_3=0.7, recall_10=0.86)
        alone = msgspec.structs.replace(Measures(ndcg_10=0.7, mrr=0.8, recall_3=0.6, recall_10=0.8), **words)
        ways = {VECTOR: alone, WORDS: alone, RERANKED: reranked}
        stored = tuple(
            [
                Stored(name=name, bytes_each=1, agreement=1.0, measures=alone)
                for name in ("fp32", "fp16", "int8")
            ]
        )
        return Quality(documents=1, chunks=1, questions=1, ways=ways, precisions=stored)

    assert (
        e2_quality.shortfalls("set", found()) == e2_quality.shortfalls("set", found(recall_10=0.8625)) == []
    )
    for worse in ({"ndcg_10": 0.8}, {"mrr": 0.91}, {"recall_10": 0.87}):
        [by_vector, by_words] = e2_quality.shortfalls("set", found(**worse))
        assert next(iter(worse)) in by_vector and "BM25" in by_words
