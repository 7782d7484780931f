"""E5: poison among sound texts and documents: neighbours are served as without it, and errors name the item.

The platform whole, with the model in this machine and the embedded index. Texts go to `/v1/embeddings` one among 32, in
one request and as 32 requests at once; documents go into a collection, all poisons and as many sound ones in one job.
"""

from __future__ import annotations

import asyncio
import base64
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

from pypdf import PdfReader, PdfWriter

from penstock.adapters.parsers.reading import Bounds
from penstock.contracts.parsers import bombs, pdf_of
from tests.evidence.registry import Result, Scalar, Table
from tests.journeys.knowledge_scene import LOCAL, Member, scene

ID = "E5"
TITLE = "Poison among sound texts and documents: neighbours succeed, errors name the item"
BATCH = 32
AT = 17
"""Where in the batch the poison is."""
PAGES = 10_000
COSINE_LEAST = 0.999
JOB_S = 900.0
SOUND = [f"The gate number {n} meters the water that flows into turbine {n * 7}." for n in range(BATCH)]


class Seen(NamedTuple):
    """What one poison did: what was told of it, whether its neighbours were served, and what is wrong, if anything."""

    poison: str
    where: str
    told: str
    neighbours: str
    wrong: str = ""


async def produce(quick: bool) -> Result:
    """Send every poison everywhere it can go."""
    with tempfile.TemporaryDirectory() as folder:
        async with scene(Path(folder)) as it:
            kim = await it.member()
            alone = await vectors(kim, SOUND)
            seen = [await in_one_request(kim, alone, *poison) for poison in texts().items()]
            seen += [await in_many_requests(kim, alone, *poison) for poison in texts().items()]
            seen += await in_a_collection(kim, PAGES // 10 if quick else PAGES)
    wrong = [f"{each.poison}, {each.where}: {each.wrong}" for each in seen if each.wrong]
    reason = (
        f"{len(seen)} poisons sent, {len(seen) - len(wrong)} met as promised; every neighbour was looked at"
    )
    rows = tuple(tuple[Scalar, ...](each[:4]) for each in seen)
    return Result(
        {"poisons": len(seen), "wrong": len(wrong), "neighbours_each": BATCH - 1, "pdf_pages": PAGES},
        "missed" if wrong else "met",
        "; ".join([*wrong, reason]),
        (Table(title="What became of each", columns=("poison", "where", "told", "neighbours"), rows=rows),),
    )


def texts() -> dict[str, bytes]:
    """Return what goes between the quotes of a JSON text, as bytes on the wire."""
    return {
        "a text over the model's limit": b"water " * 2_000,
        "NUL": b"a\\u0000b",
        "a lone surrogate": b"a\\ud800b",
        "bytes that are no UTF-8": b"a\xff\xfeb",
        "1 MB of one character": b"a" * 1_000_000,
        "1 MB of combining marks": "\u0301".encode() * 500_000,
        "nothing but blanks": b"   ",
        "an empty text": b"",
    }


# --------------------------------------------------------------------------------------------------------- embeddings


async def in_one_request(kim: Member, alone: Sequence[Any], name: str, poison: bytes) -> Seen:
    """Send the poison as one of 32 inputs: it is served, or all are refused by its name; without it all are served."""
    inputs = [b'"%b"' % text.encode() for text in SOUND]
    inputs[AT] = b'"%b"' % poison
    status, told = await embed(kim, inputs)
    if status == 200:
        got = [each["embedding"] for each in told["data"]]
        same = all(alike(got[n], alone[n]) for n in range(BATCH) if n != AT)
        return Seen(
            name, "1 of 32 inputs", "served", "served", "" if same else "a neighbour's vector is another"
        )
    error = told["error"]
    said = f"{status} {error['code']}: {error['message']}"[:160]
    again = await vectors(kim, [text for n, text in enumerate(SOUND) if n != AT])
    same = all(alike(*pair) for pair in zip(again, [*alone[:AT], *alone[AT + 1 :]], strict=True))
    names = str(AT) in f"{error.get('param')} {error['message']}" or b"\xff" in poison or b"\\ud800" in poison
    wrong = (
        ""
        if same and names and status == 400
        else "the refusal does not name the input"
        if same
        else "refused"
    )
    return Seen(name, "1 of 32 inputs", said, "served without it", wrong)


async def in_many_requests(kim: Member, alone: Sequence[Any], name: str, poison: bytes) -> Seen:
    """Send 32 requests at once, so that they are computed together; only the poison's own may be refused."""
    bodies = [[b'"%b"' % (poison if n == AT else text.encode())] for n, text in enumerate(SOUND)]
    answers = await asyncio.gather(*(embed(kim, body) for body in bodies))
    served = [
        n
        for n, (status, told) in enumerate(answers)
        if n != AT and status == 200 and alike(told["data"][0]["embedding"], alone[n])
    ]
    status, told = answers[AT]
    said = "served" if status == 200 else f"{status} {told['error']['code']}"
    wrong = "" if len(served) == BATCH - 1 and status in {200, 400} else "a neighbour was not served as alone"
    return Seen(name, "1 of 32 requests at once", said, f"{len(served)} of {BATCH - 1} served", wrong)


async def embed(kim: Member, inputs: Sequence[bytes]) -> tuple[int, Any]:
    """Ask for vectors of texts given as JSON."""
    body = b'{"model": "%b", "input": [%b]}' % (LOCAL.encode(), b", ".join(inputs))
    return await kim.ask("POST", "/v1/embeddings", body, **{"content-type": "application/json"})


async def vectors(kim: Member, sound: Sequence[str]) -> list[Any]:
    """Return the vectors of texts that must be served."""
    status, told = await embed(kim, [b'"%b"' % text.encode() for text in sound])
    assert status == 200, told
    return [each["embedding"] for each in told["data"]]


def alike(one: Sequence[float], other: Sequence[float]) -> bool:
    """Tell whether two vectors of length 1 are the same, but for the company they were computed in."""
    return sum(a * b for a, b in zip(one, other, strict=True)) >= COSINE_LEAST


# --------------------------------------------------------------------------------------------------------- collections


def many_pages(count: int) -> bytes:
    """Return a PDF of so many pages, made by pypdf."""
    writer = PdfWriter()
    writer.append(PdfReader(BytesIO(pdf_of([f"Page number {n} of the water book." for n in range(count)]))))
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def locked() -> bytes:
    """Return a PDF under a password."""
    writer = PdfWriter()
    writer.append(PdfReader(BytesIO(pdf_of(["secret"]))))
    writer.encrypt("password", algorithm="RC4-128")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def poisoned(pages: int) -> dict[str, tuple[bytes, str, str]]:
    """Return documents by name: bytes, type, and how each must end: "indexed", "partial", "failed", or "" for any."""
    either = {f"{name} (bomb)": (*bomb, "") for name, bomb in bombs().items()}
    whole = "indexed" if pages <= Bounds().pages else "partial"
    return {
        **either,
        f"a PDF of {pages:,} pages": (many_pages(pages), "application/pdf", whole),
        "NUL in a text": (b"The gate\0 is shut at night.", "text/plain", "indexed"),
        "lone surrogates": (b"The gate \xed\xa0\x80 opens again.", "text/plain", "partial"),
        "nothing but NUL": (bytes(5_000), "text/plain", "failed"),
        "a locked PDF": (locked(), "application/pdf", "failed"),
        "half a PDF": (pdf_of(["cut"])[:300], "application/pdf", "failed"),
        "an image": (b"\x89PNG\r\n\x1a\n" + bytes(500), "image/png", "failed"),
        "an office document": (b"PK\x03\x04" + bytes(500), "", "failed"),
    }


async def in_a_collection(kim: Member, pages: int) -> list[Seen]:
    """Index all poisons and as many sound documents in one job; look at each."""
    poisons = poisoned(pages)
    await kim.ok("POST", "/v1/collections", {"name": "mixed"}, status=201)
    sent: list[dict[str, Any]] = []
    for n, (name, (content, media_type, _)) in enumerate(poisons.items()):
        encoded = base64.b64encode(content).decode()
        sent.append({"id": name, "content": encoded, "media_type": media_type})
        sent.append({"id": f"sound {n}", "text": SOUND[n]})
    jobs = [await kim.put("mixed", *batch) for batch in batches(sent)]
    ended = [await kim.ended("mixed", job, within_s=JOB_S) for job in jobs]
    failures = {each["document"]: each for job in ended for each in job["failures"]}
    found = [bool((await kim.found("mixed", SOUND[n], k=1)) == [f"sound {n}"]) for n in range(len(poisons))]
    counts = [(job["status"], job["counts"]["failed"] + job["counts"]["in_part"]) for job in ended]
    called = {status for status, not_well in counts if not_well} - {"partial", "failed"}
    seen: list[Seen] = []
    for name, (_, _, wanted) in poisons.items():
        document = await kim.ok("GET", f"/v1/collections/mixed/documents/{quoted(name)}")
        failure = failures.get(name)
        status = document["status"]
        told = f"{status}, {failure['code']}: {failure['message']}" if failure else status
        # What is not indexed, or not all of it, is named by its job; what is whole is not.
        named_so = (
            (failure is not None)
            == (status != "indexed")
            == (status == "failed" or bool(document["omitted"]))
        )
        ended_so = wanted in {"", status} and status in {"indexed", "partial", "failed"} and named_so
        complete = f"{sum(found)} of {len(found)} found"
        wrong = (
            ""
            if ended_so and all(found) and not called
            else f"wanted {wanted or 'an end'}, {complete}, {called}"
        )
        seen.append(Seen(name, "a document of the job", told[:200], complete, wrong))
    return seen


def batches(sent: list[dict[str, Any]], most: int = 6 << 20) -> list[list[dict[str, Any]]]:
    """Divide documents so that no body is too large."""
    made: list[list[dict[str, Any]]] = [[]]
    size = 0
    for document in sent:
        size += len(document.get("content", ""))
        if made[-1] and size > most:
            made.append([])
            size = len(document.get("content", ""))
        made[-1].append(document)
    return made


def quoted(name: str) -> str:
    """Return an id as a part of a path."""
    return "".join(f"%{byte:02x}" for byte in name.encode())
