"""Units of settings: what their types mean, and how a field says what it is for."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

Text = Annotated[str, Meta(max_length=2048)]
Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


def doc(text: str) -> Meta:
    """Describe a setting, for people and for the reference."""
    return Meta(description=text)
