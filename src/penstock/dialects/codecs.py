"""Every dialect a provider may speak, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from penstock.dialects import anthropic, gemini, openai
from penstock.dialects.codec import Codec

CODECS: Final[Mapping[str, Codec]] = MappingProxyType(
    {codec.name: codec for codec in (openai.CODEC, anthropic.CODEC, gemini.CODEC)}
)
