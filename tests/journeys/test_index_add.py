"""How `penstock index add` sends, on the real platform: at its pace, and with the labels whichever way a file goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli import index_sending
from penstock.cli.index_files import File
from penstock.cli.index_sending import Sending
from penstock.sdk.client import Client
from penstock.sdk.knowledge import CollectionRequest
from tests.journeys.knowledge_scene import scene
from tests.support import run

GATES = b"The sluice gate opens when the water rises above four metres."


def test_more_jobs_than_may_be_open_all_end_and_labels_hold_for_what_goes_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_sending, "BATCH_BYTES", len(GATES))

    async def steps() -> None:
        async with scene(tmp_path, open_jobs=1) as it:
            kim = await it.member()
            url = it.it.url.removesuffix("/v1")
            async with Client(url, kim.caller.token) as client:
                await client.collections.create(CollectionRequest(name="guides"))
                sending = Sending(client, "guides", ("crew", "staff"))
                for number in range(4):
                    await sending.send([File(f"gate {number}.txt", GATES + b"!" * (number % 2))])
                await sending.end()
            assert [each.job.status for each in sending.sent] == ["complete"] * 4
            assert not sending.failed
            assert await kim.found("guides", "when does the gate open?") == []
            found = await kim.found("guides", "when does the gate open?", acl=["staff"])
            assert sorted(found) == [f"gate {number}.txt" for number in range(4)]

    run(steps(), 60.0)
