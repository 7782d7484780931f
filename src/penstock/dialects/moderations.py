"""The moderations wire of OpenAI, both ways: bytes and `kernel.embed`.

How they meet: a string is one input of one text; a list of strings is as many inputs; a list of parts (text and
pictures) is one input. Promises: `parse_request(render_request(x)) == x`, and likewise for replies, for all that this
wire can say; a vendor's reply that is not one is an `Upstream` error, ``malformed_reply``. Where a vendor judges each
category and says no more (Mistral), what one of them applies to is flagged.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw

from penstock.dialects.codec import untranslatable
from penstock.dialects.members import FLAG, Members, check_numbers
from penstock.dialects.nonsense import no_reply
from penstock.dialects.strict_json import decode_object
from penstock.kernel.chat import Image, Text
from penstock.kernel.embed import ModerationReply, ModerationRequest, Verdict
from penstock.kernel.errors import Invalid

MAX_INPUTS: Final = 1_024
REMEDIES: Final = {
    "": "See the OpenAI reference of moderations for this member.",
    "input": f"Send a string, or a list of 1 to {MAX_INPUTS} strings or parts (text, image_url).",
    "type": "Use text or image_url.",
    "url": "Send an https:, http: or data: URL.",
}
_URLS: Final = ("https://", "http://", "data:")
_FLAGS: Final = msgspec.json.Decoder(dict[str, bool | None])
_SCORES: Final = msgspec.json.Decoder(dict[str, float | None])
_APPLIED: Final = msgspec.json.Decoder(dict[str, tuple[str, ...] | None])
_TEXTS: Final = msgspec.json.Decoder(Annotated[list[str], Meta(min_length=1, max_length=MAX_INPUTS)])

_Input = tuple[Text | Image, ...]


# --------------------------------------------------------------------------------------------------- requests


def parse_request(body: bytes) -> ModerationRequest:
    """Read a request. Raises `Invalid`."""
    members = Members(decode_object(body), "", REMEDIES)
    check_numbers(body)
    return ModerationRequest(model=members.take_text("model"), inputs=_inputs(members), extras=members.rest())


def _inputs(members: Members) -> tuple[_Input, ...]:
    given = members.take_raw("input")
    if given is None:
        raise members.missing("input")
    members.put_back("input", given)
    text = bytes(given)
    if text[:1] == b'"':
        return ((Text(members.need_text("input")),),)
    if text[1:].lstrip()[:1] != b"{":
        return tuple([(Text(each),) for each in members.take("input", _TEXTS, [])])
    parts = members.opened("input", members.take_items("input", MAX_INPUTS))
    return (tuple([_part(part) for part in parts]),)


def _part(part: Members) -> Text | Image:
    kind = part.need_text("type")
    if kind == "text":
        return Text(part.need_text("text"))
    picture = part.take_object("image_url") if kind == "image_url" else None
    if picture is None:
        raise part.wrong("type", "This is neither a text nor a picture.", kind, "text, image_url")
    url = picture.need_text("url")
    if not url.startswith(_URLS):
        raise picture.wrong("url", "This is no URL of a picture.", url)
    return Image(url)


def render_request(request: ModerationRequest) -> bytes:
    """Return the request's bytes. Raises `Invalid` for several inputs when one holds more than one text."""
    wire: dict[str, Any] = {"input": _render_inputs(request.inputs)}
    if request.model:
        wire["model"] = request.model
    return msgspec.json.encode({**wire, **request.extras})


def _render_inputs(inputs: tuple[_Input, ...]) -> object:
    words = [each[0].text for each in inputs if len(each) == 1 and isinstance(each[0], Text)]
    if len(words) == len(inputs):
        return words[0] if len(words) == 1 else words
    if len(inputs) != 1:
        raise untranslatable("input", f"{len(inputs)} inputs with pictures", "openai", "Send one at a time.")
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, Text)
        else {"type": "image_url", "image_url": {"url": part.url}}
        for part in inputs[0]
    ]


# ---------------------------------------------------------------------------------------------------- replies


def parse_reply(body: bytes) -> ModerationReply:
    """Read a reply. Raises `Upstream`."""
    try:
        members = Members(decode_object(body), "", REMEDIES)
        results = members.take_list("results")
        if results is None:
            raise members.missing("results")
        verdicts = tuple([_verdict(result, f"results[{at}]") for at, result in enumerate(results)])
        return ModerationReply(
            id=members.take_text("id"),
            model=members.take_text("model"),
            results=verdicts,
            extras=members.rest(),
        )
    except Invalid as error:
        raise no_reply("a moderation", error) from None


def _verdict(result: Raw, path: str) -> Verdict:
    members = Members.of(result, path, REMEDIES)
    flagged = members.take_optional("flagged", FLAG)
    flags = members.take("categories", _FLAGS, {})
    if flagged is None:
        if not flags:
            raise members.missing("flagged")
        flagged = any(flags.values())
    scores = members.take("category_scores", _SCORES, {})
    applied = members.take("category_applied_input_types", _APPLIED, {})
    return Verdict(
        flagged=flagged,
        # null: a category this vendor's model does not know
        categories={name: flag for name, flag in flags.items() if flag is not None},
        scores={name: score for name, score in scores.items() if score is not None},
        applied={name: kinds for name, kinds in applied.items() if kinds is not None},
        extras=members.rest(),
    )


def render_reply(reply: ModerationReply) -> bytes:
    """Return the reply's bytes."""
    results = [
        {
            "flagged": verdict.flagged,
            "categories": verdict.categories,
            "category_scores": verdict.scores,
            "category_applied_input_types": verdict.applied,
            **verdict.extras,
        }
        for verdict in reply.results
    ]
    return msgspec.json.encode({"id": reply.id, "model": reply.model, "results": results, **reply.extras})
