"""What a document is: told by its media type, else by its name, else by its first bytes."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from penstock.adapters.parsers.reading import Unreadable


class Kind(NamedTuple):
    """Which reader reads it, and, of a program, the language."""

    reader: str
    language: str = ""


TEXT, MARKDOWN, HTML, PDF, TABLE = map(Kind, ("text", "markdown", "html", "pdf", "table"))
PLAIN_CODE: Final = Kind("code", "")
_MEDIA: Final = {
    "text/markdown": MARKDOWN,
    "text/x-markdown": MARKDOWN,
    "text/html": HTML,
    "application/xhtml+xml": HTML,
    "application/pdf": PDF,
    "application/x-pdf": PDF,
    "text/csv": TABLE,
    "text/tab-separated-values": TABLE,
    "application/javascript": Kind("code", "javascript"),
    "text/javascript": Kind("code", "javascript"),
    "application/typescript": Kind("code", "typescript"),
    "text/x-java-source": Kind("code", "java"),
    "text/x-c++": Kind("code", "cpp"),
    "text/x-c++src": Kind("code", "cpp"),
    "text/x-csrc": Kind("code", "c"),
    "application/json": PLAIN_CODE,
    "application/x-ndjson": PLAIN_CODE,
    "application/xml": PLAIN_CODE,
    "text/xml": PLAIN_CODE,
    "application/yaml": PLAIN_CODE,
    "application/toml": PLAIN_CODE,
    "application/sql": PLAIN_CODE,
    "application/x-sh": PLAIN_CODE,
    "text/css": PLAIN_CODE,
}
_CODE_LANGUAGES: Final = frozenset({"python", "go", "rust", "java", "c", "cpp", "javascript", "typescript"})
# fmt: off
_OTHER_CODE: Final = (
    "rb", "php", "cs", "kt", "swift", "scala", "lua", "pl", "sh", "bash", "sql", "json", "jsonl", "ndjson", "yaml",
    "yml", "toml", "ini", "cfg", "conf", "xml", "css", "scss", "proto", "tf", "r", "jl", "ex", "erl", "hs", "ml", "clj",
    "dart", "zig", "vue", "svelte", "makefile", "dockerfile", "gradle", "properties",
)
# fmt: on
_ENDINGS: Final = {
    **dict.fromkeys(("txt", "text", "log", "rst", "tex", "org", "adoc", "srt", "vtt", "eml"), TEXT),
    **dict.fromkeys(("md", "markdown", "mdx", "mkd"), MARKDOWN),
    **dict.fromkeys(("html", "htm", "xhtml"), HTML),
    "pdf": PDF,
    **dict.fromkeys(("csv", "tsv"), TABLE),
    **dict.fromkeys(("py", "pyi"), Kind("code", "python")),
    **dict.fromkeys(("js", "mjs", "cjs", "jsx"), Kind("code", "javascript")),
    **dict.fromkeys(("ts", "mts", "cts"), Kind("code", "typescript")),
    "tsx": Kind("code", "tsx"),
    "go": Kind("code", "go"),
    "rs": Kind("code", "rust"),
    "java": Kind("code", "java"),
    **dict.fromkeys(("c", "h"), Kind("code", "c")),
    **dict.fromkeys(("cpp", "cc", "cxx", "hpp", "hh", "hxx", "ipp"), Kind("code", "cpp")),
    **dict.fromkeys(_OTHER_CODE, PLAIN_CODE),
}
_UNTOLD: Final = frozenset({"", "application/octet-stream", "binary/octet-stream", "text/plain"})
"""Media types that say nothing, or that clients give to every text."""
_HTML_START: Final = re.compile(
    rb"\s*(?:<!--.{0,500}?-->\s*)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_BINARY: Final = (
    (b"PK\x03\x04", "a ZIP archive or an Office document"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x7fELF", "a program"),
)
READABLE: Final = "text, Markdown, HTML, PDF, CSV and source code"


def kind_of(content: bytes, media_type: str, name: str) -> tuple[Kind, str]:
    """Return what a document is and the charset its media type names. Raises Unreadable (`unsupported_type`)."""
    media, _, parameters = media_type.partition(";")
    media = media.strip().lower()
    found = re.search(r"charset\s*=\s*\"?([\w.:-]+)", parameters, re.IGNORECASE)
    return _kind(content, media, name) or _refused(media), found[1] if found else ""


def _kind(content: bytes, media: str, name: str) -> Kind | None:
    if kind := _MEDIA.get(media):
        return kind
    if media in _UNTOLD:
        return _by_name(name) or _by_bytes(content)
    major, _, minor = media.partition("/")
    if minor.removeprefix("x-") in _CODE_LANGUAGES and major in {"text", "application"}:
        return Kind("code", minor.removeprefix("x-"))
    if minor.endswith(("+json", "+xml", "+yaml")) and major != "image":
        return PLAIN_CODE
    return (_by_name(name) or TEXT) if major == "text" else None


def _by_name(name: str) -> Kind | None:
    return _ENDINGS.get(name.rpartition("/")[2].rpartition(".")[2].lower())


def _by_bytes(content: bytes) -> Kind:
    if b"%PDF-" in content[:1024]:
        return PDF
    if _HTML_START.match(content, 0, 2048):
        return HTML
    for start, what in _BINARY:
        if content.startswith(start):
            raise Unreadable("unsupported_type", f"This is {what}.", f"Send {READABLE}.")
    return TEXT


def _refused(media: str) -> Kind:
    raise Unreadable(
        "unsupported_type", f"Documents of type {media[:80]!r} are not read.", f"Send {READABLE}."
    )
