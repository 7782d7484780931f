"""`penstock embed`: what cannot be measured is refused before a model is started, and figures become tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli import embed
from penstock.cli.main import main
from penstock.embedding.search.quality import Measures
from penstock.kernel.settings_embedding import EmbeddingSettings
from penstock.wiring.measuring import Batch, Quality, Speed, Stored, Tuned

MEASURES = Measures(ndcg_10=0.5, mrr=0.6, recall_3=0.7, recall_10=0.8)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["embed", "quality"], "Which documents"),
        (["embed", "quality", "nowhere.jsonl"], "nowhere.jsonl"),
        (["embed", "bench", "--seconds", "0"], "0.1 to 60"),
        (["embed", "bench", "--seconds", "61"], "0.1 to 60"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert told in capsys.readouterr().err


def test_a_line_that_is_none_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"document": "a", "text": "b"}\n{"question": 1}\n')
    assert main(["embed", "quality", str(file)]) == 2
    assert "line 2" in capsys.readouterr().err


def test_tune_marks_what_it_chose_and_says_what_is_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def tuned(_settings: EmbeddingSettings) -> Tuned:
        batches = tuple(
            [
                Batch(tokens=tokens, texts=1, p50_ms=tokens / 10, p99_ms=tokens, tokens_per_s=tokens * 10)
                for tokens in (64, 256, 512)
            ]
        )
        return Tuned(model="m", batches=batches, query_batch_tokens=256, ingest_batch_tokens=512)

    monkeypatch.setattr(embed, "tune_all", tuned)
    assert main(["embed", "tune"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "← query" in line] == ["256"]
    assert [line.split()[0] for line in lines if "← ingest" in line] == ["512"]
    assert any("embedding.query_batch_tokens" in line and "256" in line for line in lines)


def test_bench_tells_each_length(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def benched(_settings: EmbeddingSettings, seconds: float) -> tuple[Speed, ...]:
        assert seconds == 0.1
        return tuple([Speed(tokens=tokens, texts_per_s=1_234, tokens_per_s=9) for tokens in (16, 0)])

    monkeypatch.setattr(embed, "bench_all", benched)
    assert main(["embed", "bench", "--seconds", "0.1"]) == 0
    out = capsys.readouterr().out
    assert "16 tokens" in out
    assert "mixed" in out
    assert "1,234" in out


@pytest.mark.parametrize("is_labelled", [True, False])
def test_quality_tells_ways_where_there_are_judgements_and_precisions_always(
    is_labelled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def judged(_settings: EmbeddingSettings, _judged: object) -> Quality:
        measures = MEASURES if is_labelled else None
        return Quality(
            documents=1,
            chunks=2,
            questions=1,
            ways={"vector": MEASURES} if is_labelled else {},
            precisions=(Stored(name="int8", bytes_each=384, agreement=0.998, measures=measures),),
        )

    monkeypatch.setattr(embed, "judge", judged)
    file = tmp_path / "mine.jsonl"
    file.write_text('{"document": "a", "text": "b"}\n{"question": "c"}\n')
    assert main(["embed", "quality", str(file)]) == 0
    out = capsys.readouterr().out
    assert "1 documents, 2 chunks, 1 questions" in out
    assert "0.998" in out
    assert ("nDCG@10" in out) == is_labelled == ("vector " in out)
