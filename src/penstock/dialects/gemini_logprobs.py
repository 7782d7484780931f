"""Log probabilities, both ways: Gemini's ``logprobsResult`` and OpenAI's ``logprobs`` of a choice.

Promise: read and written again they mean the same; a token's bytes, which only OpenAI spells out, are those of its
UTF-8. A ``tokenId`` rides along as `token_id`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw

from penstock.dialects.gemini_words import REMEDIES
from penstock.dialects.members import raw
from penstock.dialects.strict_json import decode_as, refusal


class _Token(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    token: str = ""
    token_id: int | None = None
    log_probability: float | None = None


class _Tops(msgspec.Struct, gc=False, omit_defaults=True):
    candidates: list[_Token] = []


class _Result(msgspec.Struct, gc=False, omit_defaults=True, rename="camel"):
    top_candidates: list[_Tops] = []
    chosen_candidates: list[_Token] = []
    log_probability_sum: float | None = None


class _OpenToken(msgspec.Struct, gc=False):
    token: str = ""
    logprob: float | None = None
    token_id: int | None = None


class _OpenChoice(_OpenToken, gc=False):
    top_logprobs: list[_OpenToken] = []


class _OpenLogprobs(msgspec.Struct, gc=False):
    content: list[_OpenChoice] | None = None
    logprob_sum: float | None = None


_RESULT: Final = msgspec.json.Decoder(_Result, strict=False)
_OPEN: Final = msgspec.json.Decoder(_OpenLogprobs)


def parse_logprobs(text: Raw, path: str) -> Raw:
    """Return a ``logprobsResult`` as OpenAI's ``logprobs``. Raises `Invalid`."""
    try:
        result = decode_as(text, _RESULT)
    except msgspec.ValidationError as error:
        raise refusal(error, text, REMEDIES, prefix=path) from None
    tops = [each.candidates for each in result.top_candidates]
    content = [
        {**_open(token), "top_logprobs": [_open(each) for each in (tops[place] if place < len(tops) else [])]}
        for place, token in enumerate(result.chosen_candidates)
    ]
    told: dict[str, Any] = {"content": content, "refusal": None}
    if result.log_probability_sum is not None:
        told["logprob_sum"] = result.log_probability_sum
    return raw(told)


def _open(token: _Token) -> dict[str, Any]:
    told: dict[str, Any] = {
        "token": token.token,
        "logprob": token.log_probability or 0.0,
        "bytes": list(token.token.encode()),
    }
    return told if token.token_id is None else {**told, "token_id": token.token_id}


def render_logprobs(text: Raw) -> Raw | _Result:
    """Return OpenAI's ``logprobs`` as a ``logprobsResult``; what is none stays as it is."""
    try:
        given = _OPEN.decode(text)
    except msgspec.DecodeError:
        return text
    tokens = given.content or []
    return _Result(
        top_candidates=[_Tops([_token(each) for each in token.top_logprobs]) for token in tokens],
        chosen_candidates=[_token(token) for token in tokens],
        log_probability_sum=given.logprob_sum,
    )


def _token(token: _OpenToken) -> _Token:
    return _Token(token.token, token.token_id, token.logprob)
