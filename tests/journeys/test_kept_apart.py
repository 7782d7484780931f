"""Nobody meets what is kept for another, and every caller gets its own words back: evidence G4, in small."""

from __future__ import annotations

from pathlib import Path

from tests import pii_corpus
from tests.kept_apart import kept_apart
from tests.put_back import put_back
from tests.support import run


def test_no_tenant_meets_names_or_purges_what_is_kept_for_another(tmp_path: Path) -> None:
    apart = run(kept_apart(tmp_path, questions=8, pairs=2))
    assert (apart.own_hits, apart.hits, apart.told, apart.probed) == (8, 0, (), ())


def test_personal_data_comes_back_whole_through_a_stream_that_cuts_it(tmp_path: Path) -> None:
    texts = pii_corpus.generated(seed=2, rounds=1)
    back = run(put_back(tmp_path, texts))
    assert (back.texts, back.changed, back.stand_ins_seen) == (len(texts), 0, 0)
    assert back.told_in_the_clear == 0 < back.spans
