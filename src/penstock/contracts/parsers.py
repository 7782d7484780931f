"""What every reader of documents must keep: the promises of `ports/parsers.py` as cases."""

from __future__ import annotations

import asyncio
import codecs
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from penstock.contracts.case import Contract, Harness, expect, expect_error, needs
from penstock.kernel.errors import Invalid, Unavailable
from penstock.ports.parsers import Block, Parsed, Parser

CASES: Contract[Parser] = Contract("parsers")
KILL: Final = "kill what reads the documents"
FORBIDDEN: Final = {*map(chr, range(9)), *map(chr, range(0xD800, 0xE000))}
ENGLISH: Final = (
    "The gate meters the water that flows into the turbine, and every drop of it is counted twice."
)
JAPANESE: Final = "水門は川の水を量ってから水車へ送ります。料金はすべて正しく記録されます。"


@dataclass(slots=True)
class ParsersHarness(Harness[Parser]):
    """A harness that knows the bounds of its reader, which are small, and may kill what does its work."""

    chars_most: int = 0
    pages_most: int = 0
    kill: Callable[[], Awaitable[None]] | None = None


def pdf_of(pages: Sequence[str], *, stream: bytes | None = None) -> bytes:
    """Return a PDF of one line a page; with `stream`, each page's content is that (deflated already) instead."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    bodies = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, text in enumerate(pages):
        shown = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET".encode("cp1252")
        content = zlib.compress(shown) if stream is None else stream
        bodies += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode(),
            b"<< /Length %d /Filter /FlateDecode >>\nstream\n%b\nendstream" % (len(content), content),
        ]
    out = bytearray(b"%PDF-1.4\n")
    places: list[int] = []
    for number, body in enumerate(bodies, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(places) + 1, start)
    return bytes(out)


def shape(parsed: Parsed) -> list[tuple[str, int, str]]:
    """Return each block's kind, level or page, and text."""
    return [(block.kind, block.level or block.page, block.text) for block in parsed.blocks]


def sound(blocks: Sequence[Block]) -> bool:
    """Tell whether every block says something, in characters that may be said."""
    return all(block.text.strip() and FORBIDDEN.isdisjoint(block.text) for block in blocks)


async def refusal(h: Harness[Parser], content: bytes, media_type: str, name: str = "") -> str:
    """Return the code of the refusal of a document, which must come with what to tell."""
    error = await expect_error(
        Invalid, h.port.parse(content, media_type, name), f"{content[:20]!r} is refused"
    )
    expect(isinstance(error, Invalid) and error.message, "a refusal says why")
    return error.reason if isinstance(error, Invalid) else ""


@CASES.case(1)
async def every_encoding_is_told_from_the_bytes(h: Harness[Parser]) -> None:
    """Or from the charset that comes with them; what has no meaning is replaced and told."""
    for encoding, text in (
        *((encoding, ENGLISH) for encoding in ("utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-32")),
        *((encoding, JAPANESE) for encoding in ("utf-8", "utf-16", "shift_jis", "euc_jp")),
        ("gb18030", "水闸先测量河水然后送往水轮机。所有费用都会正确记录下来。"),
        ("cp1252", "Die Schleuse misst „das Wasser“, das über die Turbine fließt."),
    ):
        parsed = await h.port.parse(text.encode(encoding), "text/plain")
        expect(shape(parsed) == [("paragraph", 0, text)], f"{encoding} is read", shape=shape(parsed))
    said = await h.port.parse(ENGLISH.encode("utf-16-be"), 'text/plain; charset="UTF-16BE"')
    expect(said.blocks[0].text == ENGLISH, "a charset that is named is used")
    russian = "Шлюз измеряет воду."
    said = await h.port.parse(russian.encode("koi8-r"), "text/plain;charset=koi8-r")
    expect(said.blocks[0].text == russian, "a charset that is named is used")
    broken = await h.port.parse(f"{ENGLISH} ".encode() + b"\xed\xa0\x80 \0 end\r\nof\rit", "text/plain")
    expect(sound(broken.blocks), "what has no meaning is replaced", text=broken.blocks[0].text)
    expect(broken.blocks[0].text.endswith("end\nof\nit"), "and the rest is there")
    expect(broken.omitted, "and it is told")


@CASES.case(1)
async def structure_is_kept_in_reading_order(h: Harness[Parser]) -> None:
    """Headings with their levels, lists, tables, code and pages; scripts, styles and navigation are no text."""
    page = (
        b"<html><head><title>The gate</title><style>p{}</style></head><body><nav>Home</nav><h1>The <b>gate</b></h1>"
        b"It meters.<script>bad()</script><p>One<br>two <i>three</i></p><ul><li>a<ul><li>b</ul><li>c</ul>"
        b"<table><tr><th>x<th>y<tr><td>1<td>2</table><h2>Next</h2><pre>a\n  b</pre><p hidden>no</p></body></html>"
    )
    parsed = await h.port.parse(page, "text/html; charset=utf-8")
    wanted = [
        ("heading", 1, "The gate"),
        ("paragraph", 0, "It meters."),
        ("paragraph", 0, "One\ntwo three"),
        ("list", 0, "- a\n  - b\n- c"),
        ("table", 0, "x | y\n1 | 2"),
        ("heading", 2, "Next"),
        ("code", 0, "a\n  b"),
    ]
    expect(shape(parsed) == wanted, "HTML keeps its structure", shape=shape(parsed))
    expect(parsed.title == "The gate", "and its title", title=parsed.title)
    marks = (
        "---\ntitle: Front\n---\n\nThe *gate*\n===\n\nIt [meters](http://a.example).\n\n1. a\n   - b\n2. c\n\n"
        "| x | y |\n|---|---|\n| 1 | 2 |\n\n## Next\n\n```python\na\n  b\n```\n\n<p>in HTML</p>\n"
    )
    parsed = await h.port.parse(marks.encode(), "", "notes/a.md")
    wanted = [
        ("code", 0, "title: Front"),
        ("heading", 1, "The gate"),
        ("paragraph", 0, "It meters."),
        ("list", 0, "1. a\n  - b\n2. c"),
        ("table", 0, "x | y\n1 | 2"),
        ("heading", 2, "Next"),
        ("code", 0, "a\n  b"),
        ("paragraph", 0, "in HTML"),
    ]
    expect(shape(parsed) == wanted and parsed.title == "Front", "Markdown too", shape=shape(parsed))
    parsed = await h.port.parse(pdf_of(["one", "", "three"]), "application/pdf")
    expect(shape(parsed) == [("page", 1, "one"), ("page", 3, "three")], "PDF its pages", shape=shape(parsed))
    program = ('"""What it is."""\nimport a\n\nX = 1', "# why\n@c\ndef f():\n    pass", "class G:\n    y = 2")
    parsed = await h.port.parse("\n\n\n".join(program).encode(), "text/x-python")
    parts = tuple(block.text for block in parsed.blocks)
    expect(parts == program, "a program its definitions", parts=parts)


@CASES.case(2)
async def what_cannot_be_read_says_why(h: Harness[Parser]) -> None:
    """With a code of the port's, and never with a library's words alone."""
    locked = pdf_of(["a"]).replace(b"/Root 1 0 R", b"/Root 1 0 R /Encrypt << /Filter /Standard /V 9 /R 9 >>")
    for content, media_type, name, code in (
        (b"", "text/plain", "", "no_text"),
        (b" \n\n ", "text/plain", "", "no_text"),
        (b"<html><script>a</script></html>", "text/html", "", "no_text"),
        (pdf_of(["", ""]), "application/pdf", "", "no_text"),
        (b"%PDF-1.4 of no kind", "application/pdf", "", "unreadable"),
        (bytes(range(9)) * 200, "text/plain", "", "unreadable"),
        (b"\xff" * 999, "text/plain; charset=utf-8", "", "unreadable"),
        (b"x", "image/png", "", "unsupported_type"),
        (b"PK\x03\x04", "", "a.docx", "unsupported_type"),
    ):
        told = await refusal(h, content, media_type, name)
        expect(told == code, f"{name or media_type} is refused as {code}", told=told)
    told = await refusal(h, locked, "application/pdf")
    expect(told in {"encrypted", "unreadable"}, "a locked PDF is refused", told=told)


@CASES.case(2, 3)
async def what_is_left_out_for_a_bound_is_told(h: Harness[Parser]) -> None:
    """At, and one over, the bounds of characters and of pages."""
    chars = h.chars_most if isinstance(h, ParsersHarness) else 0
    pages = h.pages_most if isinstance(h, ParsersHarness) else 0
    for size in (chars, chars + 1):
        parsed = await h.port.parse(b"a" * size, "text/plain")
        expect(sum(len(block.text) for block in parsed.blocks) == chars, "no more characters than may be")
        expect(bool(parsed.omitted) == (size > chars), "and what is left out is told", omitted=parsed.omitted)
    for count in (pages, pages + 1):
        parsed = await h.port.parse(pdf_of([f"page {n}" for n in range(count)]), "application/pdf")
        expect(len(parsed.blocks) == pages, "no more pages than may be", blocks=len(parsed.blocks))
        expect(bool(parsed.omitted) == (count > pages), "and it is told", omitted=parsed.omitted)


def bombs() -> dict[str, tuple[bytes, str]]:
    """Return documents that are made to take too much: their bytes and media types."""
    zeros = zlib.compressobj(9)
    packed = b"".join([*(zeros.compress(bytes(1 << 20)) for _ in range(512)), zeros.flush()])
    deep = b"".join(b"<div>" for _ in range(200_000))
    return {
        "nested HTML": (deep + b"x", "text/html"),
        "an attribute bomb": (b"<p " + b"a=1 " * 250_000 + b">x", "text/html"),
        "Markdown emphasis": (b"*a" * 400_000, "text/markdown"),
        "Markdown brackets": (b"[" * 400_000, "text/markdown"),
        "nested code": (b"(" * 1_000_000, "text/x-python"),
        "one character": (b"a" * 1_000_000, "text/plain"),
        "a PDF of half a gigabyte of nothing": (pdf_of(["x"], stream=packed), "application/pdf"),
        "marks without letters": ("\u0301".encode() * 300_000, "text/plain"),
    }


@CASES.case(3)
async def hostile_documents_end_and_take_nobody_along(h: Harness[Parser]) -> None:
    """Each beside a sound one, which is read."""

    async def ends(name: str, content: bytes, media_type: str) -> None:
        try:
            parsed = await h.port.parse(content, media_type)
        except Invalid as error:
            expect(
                error.reason in {"too_large", "unreadable", "no_text"},
                f"{name} is refused",
                told=error.reason,
            )
        else:
            expect(sound(parsed.blocks), f"{name} is read soundly")

    async def neighbour() -> None:
        parsed = await h.port.parse(f"# A\n\n{ENGLISH}".encode(), "text/markdown")
        expect(len(parsed.blocks) == 2, "a neighbour is read", blocks=len(parsed.blocks))

    await asyncio.gather(
        *(ends(name, *bomb) for name, bomb in bombs().items()), *(neighbour() for _ in range(4))
    )


@CASES.case(3)
async def a_reader_that_is_killed_is_unavailable_for_a_moment_only(h: Harness[Parser]) -> None:
    """The one whose document it was is told; later ones are read."""
    kill = needs(h.kill if isinstance(h, ParsersHarness) else None, KILL)
    await h.port.parse(b"a", "text/plain")
    slow = asyncio.ensure_future(h.port.parse(*bombs()["nested HTML"]))
    await asyncio.sleep(0.2)
    await kill()
    await expect_error(Unavailable, slow, "who waited is told")
    for _ in range(100):
        try:
            parsed = await h.port.parse(b"again", "text/plain")
        except Unavailable as error:
            await h.advance(min(error.retry_after_s or 0.1, 2.0))
        else:
            expect(parsed.blocks[0].text == "again", "and the next one is read")
            return
    expect(held=False, promise="the reader comes back")


@CASES.case(4)
async def the_same_bytes_give_the_same_blocks(h: Harness[Parser]) -> None:
    """Whoever reads them, and whatever was read before."""
    for content, media_type in (
        (codecs.BOM_UTF8 + f"{ENGLISH}\n\n{JAPANESE}".encode(), "text/plain"),
        (f"<h1>{ENGLISH}</h1><p>{JAPANESE}".encode(), "text/html"),
        (pdf_of([ENGLISH, "two"]), "application/pdf"),
    ):
        first, *others = await asyncio.gather(*(h.port.parse(content, media_type) for _ in range(3)))
        expect(all(each == first for each in others), "the same bytes give the same blocks", type=media_type)
    expect((await h.port.parse(ENGLISH.encode(), "text/plain")).language == "en", "English is told")
    expect((await h.port.parse(JAPANESE.encode(), "text/plain")).language == "ja", "Japanese is told")
