"""The embedded blobs keep every promise of their port."""

from __future__ import annotations

import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from penstock.adapters.blobs.embedded import FileBlobs
from penstock.contracts.blobs import CASES, BlobsHarness
from penstock.ports import blobs as port
from tests.contracts.file_harness import Life, bind, promises_checked, promises_of
from tests.contracts.not_tried import tried
from tests.support import run


def limit_files(room: int | None) -> None:
    """Let no file grow past `room` bytes (the system answers EFBIG after a short write); None: end."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if room is None else room, hard))


async def opened(folder: Path, clock) -> FileBlobs:
    return FileBlobs(folder, clock)


async def on_file_blobs(case: Callable, folder: Path) -> None:
    """Run one case on fresh blobs in `folder`."""
    life = Life(folder, opened)

    def stored() -> list[Path]:
        return list(life.folder.glob("*/objects/*/*"))

    def flip(digest: str, position: int) -> None:
        (path,) = [path for path in stored() if path.name == digest]
        value = bytearray(path.read_bytes())
        value[position] ^= 1
        path.write_bytes(value)

    async def tear():
        """Crash between the bytes and the rename: what is written is what the real writer leaves then."""

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        def half(place: Path) -> None:
            (tenant,) = place.glob("t.*")
            value = b"half" * 1000
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Path, "rename", killed)
                patch.setattr(Path, "unlink", lambda *_, **__: None)  # the dead clean nothing up
                with suppress(KeyboardInterrupt):
                    FileBlobs(place, life.clock)._put(tenant.name.removeprefix("t."), value, "half")
            for path in tenant.rglob("*"):
                if path.is_file() and path.read_bytes() == value:
                    path.write_bytes(value[:1_700])

        return await life.crash(half)

    harness = BlobsHarness(
        port=await life.start(),
        advance=life.advance,
        reopen=life.crash,
        peer=life.peer,
        single_process=True,
        wall_s=life.clock.wall_s,
        flip=flip,
        stored=lambda: len(stored()),
        fill=limit_files,
        tear=tear,
    )
    bind(harness, life)
    try:
        await case(harness)
    finally:
        await life.stop()


@pytest.mark.parametrize(
    "case", [case for _, _, case in CASES.cases], ids=[name for name, _, _ in CASES.cases]
)
def test_embedded(case, tmp_path):
    run(tried("blobs/embedded", case, on_file_blobs(case, tmp_path)))


def test_every_promise_has_a_case():
    assert promises_checked(CASES) == promises_of(port)
