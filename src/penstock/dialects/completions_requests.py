"""Requests of the legacy completions wire, both ways: a chat request whose only message is the prompt.

Promises
- `parse_request(render_request(x).body) == x` for every request this wire can say.
- One prompt of words a request: several prompts, tokens, `suffix`, `echo` and `best_of` are refused with a way out. An
  absent `max_tokens` is `DEFAULT_TOKENS`, as the API has it. `logprobs` is a number here: chat's `top_logprobs`.
- Of another dialect everything is refused that is more than one message of a user's words: other messages, pictures,
  tools, formats, thinking.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Raw
from msgspec.structs import replace

from penstock.dialects.border import Rules, one_of
from penstock.dialects.codec import Rendered
from penstock.dialects.foreign import Crossing, Customs
from penstock.dialects.members import FLAG, Members, check_numbers, raw
from penstock.dialects.openai_requests import REMEDIES as CHAT_REMEDIES
from penstock.dialects.openai_requests import read_members, request_members
from penstock.dialects.strict_json import decode_object
from penstock.kernel.chat import ChatRequest, Message, Text

DEFAULT_TOKENS: Final = 16
MAX_TOP_LOGPROBS: Final = 20

REMEDIES: Final = {
    **CHAT_REMEDIES,
    "": "See the OpenAI reference of (legacy) completions for this member.",
    "prompt": "Send one prompt, as a string of words: one request for each prompt.",
    "suffix": "Say in the prompt what comes after the gap.",
    "echo": "Put the prompt before the answer yourself.",
    "best_of": "Ask for `n` answers and choose yourself.",
    "logprobs": f"Send a whole number from 0 to {MAX_TOP_LOGPROBS}.",
}
_OF_CHAT: Final = ("messages", "tools", "tool_choice", "functions", "function_call", "modalities", "audio")
_PROMPTS: Final = msgspec.json.Decoder(list[str])
_LOGPROBS: Final = msgspec.json.Decoder(Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS)])
_COUNT: Final = msgspec.json.Decoder(int)


def parse_request(body: bytes) -> ChatRequest:
    """Read a whole request. Raises `Invalid`."""
    members = Members(decode_object(body), "", REMEDIES)
    check_numbers(body)
    for name in _OF_CHAT:
        if members.take_raw(name) is not None:
            raise members.wrong(name, "This is a member of chat completions.", name)
    _refuse_what_only_legacy_models_can(members)
    top_logprobs = members.take_optional("logprobs", _LOGPROBS)
    prompt = _prompt(members)
    members.put_back("messages", raw([{"role": "user", "content": prompt}]))
    request = read_members(members)
    return replace(
        request,
        dialect="completions",
        logprobs=None if top_logprobs is None else True,
        top_logprobs=top_logprobs,
        max_output_tokens=request.max_output_tokens or DEFAULT_TOKENS,
    )


def _refuse_what_only_legacy_models_can(members: Members) -> None:
    suffix = members.take_text("suffix")
    if suffix:
        raise members.wrong("suffix", "A text cannot be completed in its middle.", suffix)
    if members.take("echo", FLAG, default=False):
        raise members.wrong("echo", "A prompt cannot be told back.", "true")
    best_of = members.take("best_of", _COUNT, 1)
    if best_of != 1:
        raise members.wrong("best_of", "Answers cannot be compared by their likelihood.", best_of, 1)


def _prompt(members: Members) -> str:
    given = members.take_raw("prompt")
    if given is None:
        raise members.missing("prompt")
    if bytes(given)[:1] == b'"':
        return Members({"prompt": given}, "", REMEDIES).need_text("prompt")
    try:
        prompts = _PROMPTS.decode(given)
    except msgspec.ValidationError:
        raise members.wrong("prompt", "The prompt is not a string.", "tokens, or something else") from None
    if len(prompts) != 1:
        raise members.wrong("prompt", "There is not exactly one prompt.", len(prompts), 1)
    return prompts[0]


# ------------------------------------------------------------------------------------------------- rendering


_CUSTOMS: Final = Customs(
    dialect="completions",
    relatives=frozenset(),
    request={
        "openai": Rules(
            same=frozenset({"logit_bias", "stream_options"}),
            left_out=frozenset(
                {"metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prediction"}
            ),
            harmless={
                "store": one_of("false"),
                "service_tier": one_of('"auto"', '"default"'),
                "modalities": one_of('["text"]'),
            },
        ),
        "responses": Rules(
            left_out=frozenset(
                {"metadata", "safety_identifier", "prompt_cache_key", "include", "max_tool_calls"}
            ),
            harmless={
                "truncation": one_of('"disabled"'),
                "service_tier": one_of('"auto"', '"default"'),
            },
        ),
        "anthropic": Rules(
            left_out=frozenset({"metadata", "cache_control"}),
            harmless={"service_tier": one_of('"auto"', '"standard_only"')},
        ),
        "gemini": Rules(left_out=frozenset({"labels"})),
    },
    message={"responses": Rules(ours=frozenset({"items"}))},
    call={},
    tool={},
    render_media=lambda _: None,
    custom_tool=lambda _: None,
)
_TEXT_FORMAT: Final = Raw(b'{"type":"text"}')


def render_request(request: ChatRequest, limit_name: str = "max_tokens") -> Rendered:
    """Return the request's bytes; `limit_name` is the member that carries the output limit. Raises `Invalid`."""
    left_out: tuple[str, ...] = ()
    if request.dialect != "completions":
        request, left_out = _adopt(request)
    wire = request_members(request, limit_name)
    wire = {"model": wire.pop("model"), "prompt": wire.pop("messages")[0]["content"], **wire}
    asked, most = wire.pop("logprobs", False), wire.pop("top_logprobs", 0)
    if asked:
        wire["logprobs"] = most
    return Rendered(msgspec.json.encode(wire), left_out)


def _adopt(request: ChatRequest) -> tuple[ChatRequest, tuple[str, ...]]:
    crossing = Crossing(request, _CUSTOMS)
    messages = tuple([crossing.message(message) for message in request.messages])
    if len(messages) != 1 or messages[0].role != "user":
        raise crossing.refusal("messages", len(request.messages), "Send one message of a user.")
    for field, given in (
        ("tools", bool(request.tools)),
        ("tool_choice", request.tool_choice is not UNSET),
        ("response_format", request.response_format not in (UNSET, _TEXT_FORMAT)),
        ("thinking", request.thinking is not None),
    ):
        if given:
            raise crossing.refusal(field, field)
    if request.parallel_tool_calls is not None:
        crossing.leave("parallel_tool_calls")
    adopted = replace(
        request,
        dialect="completions",
        messages=(_plain(crossing, messages[0]),),
        response_format=UNSET,
        parallel_tool_calls=None,
        extras=crossing.request_extras(request.extras),
    )
    return adopted, crossing.left_out


def _plain(crossing: Crossing, message: Message) -> Message:
    """Return a message of words as one text."""
    words = [part.text for part in message.content if isinstance(part, Text)]
    if len(words) != len(message.content) or message.name:
        raise crossing.refusal("messages", message.name or "a part that is no text")
    return Message(role="user", content=(Text("\n".join(words)),))
