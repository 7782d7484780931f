"""The suite finds bugs: ten are seeded into the embedded blobs, one at a time, and every one is caught."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from penstock.adapters.blobs import embedded
from penstock.adapters.blobs.embedded import FileBlobs
from penstock.contracts.blobs import CASES
from penstock.kernel.errors import NotFound
from tests.contracts.file_harness import first_broken
from tests.contracts.test_blobs import on_file_blobs


def writes_in_place(patch):
    """No temporary file: a write that fails leaves its first half under the final name."""

    def direct(blobs, place, value, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb", buffering=0) as file:
            if file.write(value) < len(value):
                file.write(value)

    patch.setattr(FileBlobs, "_write", direct)


def trusts_the_disk(patch):
    """Bytes are returned as they are read."""

    def trusting(blobs, place, digest):
        try:
            return (place / "objects" / digest[:2] / digest).read_bytes()
        except FileNotFoundError:
            raise NotFound from None

    patch.setattr(FileBlobs, "_read", trusting)


def shares_blobs_between_tenants(patch):
    """One folder for all: whoever knows the digest reads it."""
    patch.setattr(embedded, "_tenant_folder", lambda tenant: "t.all")


def takes_any_name(patch):
    """A name is a path below the folder, as it is written."""
    patch.setattr(embedded, "_name_path", lambda name: Path(name + "+"))


def lists_in_the_order_of_the_disk(patch):
    """A page is whatever the folder gives first."""

    def unsorted(blobs, tenant, prefix, after, limit):
        names = [
            name
            for name, _ in embedded._names_below(blobs._folder / embedded._tenant_folder(tenant) / "names")
        ]
        return [name for name in names if name.startswith(prefix) and name > after][:limit]

    patch.setattr(FileBlobs, "_list", unsorted)


def repeats_the_last_name_of_a_page(patch):
    """`after` is taken for `from`."""

    def repeating(blobs, tenant, prefix, after, limit):
        names = [
            name
            for name, _ in embedded._names_below(blobs._folder / embedded._tenant_folder(tenant) / "names")
        ]
        page = sorted(name for name in names if name.startswith(prefix) and name >= after)[:limit]
        return [] if page == [after] else page

    patch.setattr(FileBlobs, "_list", repeating)


def expires_what_is_named(patch):
    """An expiry looks at the age alone."""
    honest = embedded._names_below
    patch.setattr(embedded, "_names_below", lambda folder, escaped="": iter(()))
    patch.setattr(
        FileBlobs,
        "_list",
        lambda blobs, tenant, prefix, after, limit: sorted(
            name
            for name, _ in honest(blobs._folder / embedded._tenant_folder(tenant) / "names")
            if name > after and name.startswith(prefix)
        )[:limit],
    )


def expires_what_was_put_again(patch):
    """A blob that is there already is left alone, its age included."""
    honest = FileBlobs._store
    patch.setattr(
        FileBlobs,
        "_store",
        lambda blobs, place, value, target: target.exists() or honest(blobs, place, value, target),
    )


def names_without_sparing(patch):
    """An expiry under way does not hear that its prey is being named."""
    honest = FileBlobs._write

    def slow(blobs, place, value, target):
        if "names" in target.parts:
            blobs._expire(place.name.removeprefix("t."), 1e12)
        honest(blobs, place, value, target)

    patch.setattr(FileBlobs, "_spared", lambda blobs, digest: nullcontext())
    patch.setattr(FileBlobs, "_write", slow)


def ends_what_a_name_begins(patch):
    """Ending a name ends every name that begins with it."""

    def greedy(blobs, tenant, name):
        place = blobs._folder / embedded._tenant_folder(tenant) / "names"
        ended = [path for other, path in embedded._names_below(place) if other.startswith(name)]
        embedded._name_path(name)
        for path in ended:
            path.unlink()
        return bool(ended)

    patch.setattr(FileBlobs, "_unname", greedy)


SEEDED = [
    writes_in_place,
    trusts_the_disk,
    shares_blobs_between_tenants,
    takes_any_name,
    lists_in_the_order_of_the_disk,
    repeats_the_last_name_of_a_page,
    expires_what_is_named,
    expires_what_was_put_again,
    names_without_sparing,
    ends_what_a_name_begins,
]


@pytest.mark.parametrize("seed", SEEDED, ids=lambda seed: seed.__name__)
def test_the_suite_catches(seed, monkeypatch, tmp_path):
    seed(monkeypatch)
    assert first_broken(CASES.cases, tmp_path, on_file_blobs), seed.__doc__


def test_and_blames_nothing_else(tmp_path):
    assert not first_broken(CASES.cases, tmp_path, on_file_blobs)
