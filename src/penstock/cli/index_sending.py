"""Batches of files → jobs, at the pace of the server: how `penstock index add` sends.

Promises: where the project has as many open jobs or waiting documents as it may, the next batch waits for one of ours
to end, or as long as it was told; a server that is away for a moment is asked again, and once it stays away nothing
more is sent; what was sent has its job told in any case, and every file that was not is named with the reason.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from penstock.cli.index_files import BATCH_BYTES, Failed, File
from penstock.kernel.errors import Conflict, OverLimit, PenstockError, Unavailable
from penstock.sdk.client import Client
from penstock.sdk.knowledge import DocumentRequest, Job

LOOK_S: Final = 0.1
LOOK_MOST_S: Final = 5.0
PAUSE_S: Final = 1.0
PAUSE_MOST_S: Final = 30.0
TRIES_MOST: Final = 7
"""Requests until a server that does not answer counts as gone: about a minute."""
WAITS_MOST: Final = 60
"""Times that one batch waits for room while none of our own jobs is open."""
PASSING: Final = (Unavailable, Conflict)
"""What may be over at the next request. What comes twice is unchanged the second time."""


@dataclass(slots=True)
class Sent:
    """Files that were sent: the job they are, as it was last seen, their ids in the order of its lines, and why the
    job's end cannot be known.
    """

    job: Job
    ids: list[str]
    lost: PenstockError | None = None

    @property
    def is_awaited(self) -> bool:
        """Tell whether its end is still to come."""
        return self.job.is_open and self.lost is None


class Sending:
    """Sends batches into one collection. `sent` and `failed` say what became of them."""

    def __init__(self, client: Client, name: str, labels: tuple[str, ...]) -> None:
        """Send to the collection `name`; only a search with one of the `labels` finds it, where there are any."""
        self._client = client
        self._name = name
        self._labels = labels
        self._gone: Unavailable | None = None
        self.sent: list[Sent] = []
        self.failed: list[Failed] = []

    async def send(self, batch: Sequence[File]) -> None:
        """Send files as one job."""
        ids = [file.id for file in batch]
        try:
            if self._gone is not None:
                raise self._gone
            self.sent.append(Sent(await self._taken(batch), ids))
        except PenstockError as error:
            self._gone = error if isinstance(error, Unavailable) else None
            self.failed += [Failed(each, error.reason, str(error)) for each in ids]

    async def end(self) -> None:
        """Wait until every job has ended."""
        for each in self.sent:
            await self._ended(each)
            if each.lost is not None:
                told = f"How this job ends is not known: {each.lost}"
                self.failed.append(Failed(each.job.id, each.lost.reason, told))

    async def _taken(self, batch: Sequence[File]) -> Job:
        """Send files as soon as there is room for them."""
        waits = 0
        while True:
            try:
                return await self._again(partial(self._posted, batch))
            except OverLimit as error:
                ours = next((each for each in self.sent if each.is_awaited), None)
                waits += ours is None
                if waits > WAITS_MOST:
                    raise
                if ours is not None:
                    await self._ended(ours)
                else:
                    await asyncio.sleep(min(error.retry_after_s or PAUSE_S, PAUSE_MOST_S))

    async def _ended(self, each: Sent) -> None:
        """Wait for a job's end, or until it cannot be known."""
        asked = partial(self._client.collections.job, self._name, each.job.id)
        pause_s = LOOK_S
        while each.is_awaited:
            try:
                if self._gone is not None:
                    raise self._gone
                each.job = await self._again(asked)
            except PenstockError as error:
                each.lost = error
                self._gone = error if isinstance(error, Unavailable) else None
                return
            if each.job.is_open:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LOOK_MOST_S)

    async def _again(self, ask: Callable[[], Awaitable[Job]]) -> Job:
        """Ask, and again while nobody answers."""
        pause_s = PAUSE_S
        for _ in range(TRIES_MOST - 1):
            try:
                return await ask()
            except PASSING:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, PAUSE_MOST_S)
        return await ask()

    async def _posted(self, batch: Sequence[File]) -> Job:
        """Send files; one that is too large for base64 goes as it is."""
        calls, labels = self._client.collections, self._labels
        if len(batch) == 1 and len(batch[0].content) > BATCH_BYTES:
            (file,) = batch
            return await calls.add_bytes(self._name, file.content, id=file.id, file=file.id, acl=labels)
        documents = (
            DocumentRequest(
                id=file.id, name=file.id, content=base64.b64encode(file.content).decode(), acl=labels
            )
            for file in batch
        )
        return await calls.add_lines(self._name, documents)
