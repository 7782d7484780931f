"""An uploaded form is read within its bounds, or refused."""

from __future__ import annotations

import pytest

from penstock.gateway import uploads
from penstock.gateway.uploads import PARTS_MAX, read_upload
from penstock.kernel.errors import Invalid

FORM = b"multipart/form-data; boundary=x"


def form(parts: int) -> bytes:
    """Return a form of so many parts, the first of them a file."""
    file = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nwords\r\n'
    field = b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    return file + field * (parts - 1) + b"--x--\r\n"


def test_a_form_of_the_most_parts_is_read() -> None:
    found = read_upload(FORM, form(PARTS_MAX))
    assert (found.filename, found.content, found.fields) == ("a", b"words", {"purpose": "batch"})


def test_a_form_of_too_many_parts_is_refused_at_the_first_that_is_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reading the rest of a million parts would keep everybody else waiting for seconds."""
    begun = 0
    on_part_begin = uploads._Reader.on_part_begin

    def counted(reader: uploads._Reader) -> None:
        nonlocal begun
        begun += 1
        on_part_begin(reader)

    monkeypatch.setattr(uploads._Reader, "on_part_begin", counted)
    with pytest.raises(Invalid) as refused:
        read_upload(FORM, form(10_000))
    assert (refused.value.field, begun) == ("body", PARTS_MAX + 1)
