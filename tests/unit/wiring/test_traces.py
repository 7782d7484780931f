"""Where traces live: with the records, unless they have an address of their own."""

from __future__ import annotations

import pytest

from penstock.kernel.errors import Invalid
from penstock.kernel.settings import Settings, StoreSettings, TraceSettings
from penstock.ports.traces import Batch
from penstock.wiring import adapters
from tests.support import run


def kept_in(settings: Settings) -> str:
    """Open the traces, use them, and tell which engine they are on."""

    async def using() -> str:
        traces = await adapters.traces(settings)
        await traces.add(Batch(id="b", at_s=1.0))
        assert await traces.healthy()
        await traces.close()
        return type(traces).__name__

    return run(using())


def test_they_are_a_file_of_the_data_folder(tmp_path):
    assert kept_in(Settings(store=StoreSettings(data=str(tmp_path)))) == "SqliteTraces"
    assert (tmp_path / "traces.sqlite").is_file()


@pytest.mark.postgres
def test_they_follow_the_records_or_their_own_address(tmp_path, fresh_postgres):
    dsn = fresh_postgres()
    shared = StoreSettings(data=str(tmp_path), records_url=dsn)
    assert kept_in(Settings(store=shared)) == "PostgresTraces"
    assert kept_in(Settings(store=shared, traces=TraceSettings(url="sqlite:"))) == "SqliteTraces"
    embedded = StoreSettings(data=str(tmp_path))
    assert kept_in(Settings(store=embedded, traces=TraceSettings(url=dsn))) == "PostgresTraces"


def test_an_address_that_none_serves_is_refused_without_its_password(tmp_path):
    settings = Settings(
        store=StoreSettings(data=str(tmp_path)), traces=TraceSettings(url="mysql://penstock:secret@db/x")
    )
    with pytest.raises(Invalid, match=r"traces\.url") as refused:
        run(adapters.traces(settings))
    assert "secret" not in str(refused.value)
