"""Taking a JSON object apart, member by member, with what is left over kept as it was written.

Promises: a member of the wrong type is an `Invalid` that names the whole path
(``messages[2].content[0].image_url.url``), the value, the limit and the remedy; null counts as "not given"; what
nobody took is in `rest`, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from penstock.dialects.strict_json import decode_as, refusal, shorten
from penstock.kernel.chat import Extras
from penstock.kernel.errors import Invalid

T = TypeVar("T")

ANY: Final = msgspec.json.Decoder(Any)
RAWS: Final = msgspec.json.Decoder(list[Raw])
TEXT: Final = msgspec.json.Decoder(str)
FLAG: Final = msgspec.json.Decoder(bool)
OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])
NULL: Final = Raw(b"null")


class Members:
    """The members of one object at `path` inside a request or a reply."""

    __slots__ = ("_left", "_remedies", "path")

    def __init__(self, members: dict[str, Raw], path: str, remedies: Mapping[str, str]) -> None:
        """Own `members`; `remedies` maps a member's name to what to do about it ("" is the default)."""
        self._left = members
        self.path = path
        self._remedies = remedies

    @classmethod
    def of(cls, raw: Raw | bytes, path: str, remedies: Mapping[str, str]) -> Members:
        """Open `raw`, which must be an object. Raises `Invalid`."""
        return cls(_decode(raw, OBJECT, path, remedies), path, remedies)

    def at(self, name: str) -> str:
        """Return the path of a member."""
        return f"{self.path}.{name}" if self.path else name

    def take(self, name: str, decoder: msgspec.json.Decoder[T], default: T) -> T:
        """Remove and return a member; `default` when it is absent or null. Raises `Invalid`."""
        raw = self._left.pop(name, NULL)
        return default if raw == NULL else _decode(raw, decoder, self.at(name), self._remedies)

    def take_optional(self, name: str, decoder: msgspec.json.Decoder[T]) -> T | None:
        """Remove and return a member; None when it is absent or null. Raises `Invalid`."""
        raw = self.take_raw(name)
        return None if raw is None else _decode(raw, decoder, self.at(name), self._remedies)

    def take_nullable(self, name: str, decoder: msgspec.json.Decoder[T]) -> T | UnsetType | None:
        """Remove and return a member for which null and absence differ. Raises `Invalid`."""
        return self.take_optional(name, decoder) if name in self._left else UNSET

    def take_raw(self, name: str) -> Raw | None:
        """Remove and return a member as written; None when it is absent or null."""
        raw = self._left.pop(name, NULL)
        return None if raw == NULL else raw

    def has(self, name: str) -> bool:
        """Tell whether a member is still there, null or not."""
        return name in self._left

    def put_back(self, name: str, value: Raw) -> None:
        """Return a member that was taken and proved to say more than could be understood."""
        self._left[name] = value

    def take_text(self, name: str, default: str = "") -> str:
        """Remove and return a string. Raises `Invalid`."""
        return self.take(name, TEXT, default)

    def need_text(self, name: str) -> str:
        """Remove and return a string that must be there. Raises `Invalid`."""
        raw = self._left.pop(name, None)
        if raw is None:
            raise self.missing(name)
        return _decode(raw, TEXT, self.at(name), self._remedies)

    def take_object(self, name: str) -> Members | None:
        """Remove and open an object; None when it is absent or null. Raises `Invalid`."""
        raw = self.take_raw(name)
        return None if raw is None else Members.of(raw, self.at(name), self._remedies)

    def take_list(self, name: str) -> list[Raw] | None:
        """Remove and return a list's items as written; None when it is absent or null. Raises `Invalid`."""
        raw = self.take_raw(name)
        return None if raw is None else _decode(raw, RAWS, self.at(name), self._remedies)

    def take_items(self, name: str, most: int) -> list[Raw]:
        """Remove and return at most `most` items as written; none when it is absent or null. Raises `Invalid`."""
        raw = self._left.pop(name, NULL)
        items = [] if raw == NULL else _decode(raw, RAWS, self.at(name), self._remedies)
        if len(items) > most:
            raise self.wrong(name, "This list is too long.", len(items), most)
        return items

    def need_items(self, name: str, most: int) -> list[Raw]:
        """Remove and return 1 to `most` items as written. Raises `Invalid`."""
        raw = self._left.pop(name, NULL)
        if raw == NULL:
            raise self.missing(name)
        items = _decode(raw, RAWS, self.at(name), self._remedies)
        if not 1 <= len(items) <= most:
            raise self.wrong(name, "This list is empty, or too long.", len(items), f"1 to {most}")
        return items

    def opened(self, name: str, items: list[Raw]) -> list[Members]:
        """Open each of `items`, which were taken from the list `name` and must be objects. Raises `Invalid`."""
        if not items:
            return []
        opened: list[Members] = []
        at, remedies = self.at(name), self._remedies
        for index, item in enumerate(items):
            path = f"{at}[{index}]"
            opened.append(Members(_decode(item, OBJECT, path, remedies), path, remedies))
        return opened

    def rest(self, prefix: str = "") -> Extras:
        """Return what nobody took, each name with `prefix`."""
        return {f"{prefix}{name}": raw for name, raw in self._left.items()}

    def missing(self, name: str) -> Invalid:
        """Build the refusal of an object without a member it needs."""
        return Invalid(
            f"A member is missing: {name}.",
            code="missing_field",
            field=self.at(name),
            remedy=self._remedies.get(name, self._remedies[""]),
        )

    def wrong(self, name: str, message: str, value: object, limit: object = None) -> Invalid:
        """Build the refusal of a member whose value will not do."""
        return Invalid(
            message,
            code="invalid_field",
            field=self.at(name),
            value=shorten(value),
            limit=limit,
            remedy=self._remedies.get(name, self._remedies[""]),
        )


def check_numbers(body: bytes) -> None:
    """Refuse a body with a number beyond 64 bits or a double, wherever it stands. Raises `Invalid`."""
    try:
        decode_as(body, ANY)  # for its checks: every number is in range, every string well-formed
    except msgspec.ValidationError as error:
        raise Invalid(
            "A number is out of range.",
            code="invalid_field",
            value=shorten(str(error)),
            limit="64-bit integers and doubles",
            remedy="Send numbers that fit.",
        ) from None


def raw(value: object) -> Raw:
    """Return `value` as JSON."""
    return Raw(msgspec.json.encode(value))


def _decode(text: Raw | bytes, decoder: msgspec.json.Decoder[T], path: str, remedies: Mapping[str, str]) -> T:
    try:
        return decode_as(text, decoder)
    except msgspec.ValidationError as error:
        raise refusal(error, text, remedies, prefix=path) from None
