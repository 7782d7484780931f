"""A conversation longer than its model's window: refused as ever, or sent on without its oldest turns, and flagged so.

    reject            nothing is touched; admission refuses what certainly does not fit
    truncate_oldest   whole turns go, oldest first; then, inside the newest turn, its oldest steps
    summarise         a summary stands for the older turns (`gateway/summary_care`)

``x-penstock-overflow`` chooses, where callers may. Who counts: a conversation whose bytes fit passes at the cost of one
comparison. One that is too long even by its words, or by the longest tokens its back end has been seen to have, is
shortened at once. What lies between is the vendor's to count, exactly and for nothing: if it says that the conversation
is too long, that is shortened and asked again, by a fifth, then to what certainly fits.

Promises: a conversation that fits is not touched; what is left after two refusals fits by an upper bound of its tokens;
what stays and what goes together is `gateway/context_fit`'s promise; what cannot be made to fit is not touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from penstock.gateway.ask import asked
from penstock.gateway.context_fit import Room, fitted
from penstock.gateway.metering import Meter
from penstock.gateway.privacy import Tenant, of_tenant
from penstock.gateway.routing import Target
from penstock.gateway.story import Story
from penstock.gateway.wording import Wording
from penstock.kernel.chat import ChatRequest
from penstock.kernel.context import RequestContext
from penstock.kernel.errors import Forbidden, Invalid
from penstock.kernel.settings_context import ContextSettings
from penstock.mechanisms.token_lengths import TokenLengths
from penstock.mechanisms.tokens import IMAGE_TOKENS_MAX

HEADER: Final = b"x-penstock-overflow"
FLAG: Final = "context_truncated"
CHOICES: Final = ("reject", "truncate_oldest", "summarise")
ANSWER_TOKENS: Final = 1_024
"""What is left free for an answer whose length the caller did not name."""
PRUDENCE: Final = 0.9
"""A token is taken to be this much shorter than its back end's average when a conversation is cut."""
TIGHTER: Final = 0.8
"""What a vendor found too long is cut to this much of itself, the first time."""
REFUSALS_MOST: Final = 2
"""Times that a vendor may find a conversation too long before its refusal is passed on."""
_NO_RULES: Final = ContextSettings()


class Windows:
    """What fits whose window, as well as can be known without asking. One per process."""

    def __init__(self, rules: Mapping[Tenant, ContextSettings], lengths: TokenLengths) -> None:
        """Go by the rules of the most exact tenant named: team, organisation, everybody."""
        self._rules = rules
        self.lengths = lengths

    def chosen(self, context: RequestContext) -> tuple[str, ContextSettings]:
        """Return what is to become of a request that does not fit. Raises Invalid for a bad header, Forbidden for a
        choice callers do not have.
        """
        rules = of_tenant(self._rules, context) or _NO_RULES
        return _chosen(context.header(HEADER), rules), rules

    def may_be_over(self, wording: Wording, target: Target) -> bool:
        """Tell whether a request is longer than its window by its bytes; False for a window nobody knows."""
        window = target.price.context_window
        if not window:
            return False
        return asked(wording.envelope, (target,)).bound_tokens > _free(wording, window)

    def is_over(self, wording: Wording, target: Target) -> bool:
        """Tell whether a request that may be over is so by what is known."""
        free = _free(wording, target.price.context_window)
        longest = self.lengths.longest(target.label)
        if longest and wording.envelope.prompt_bytes / longest > free:
            return True
        return asked(wording.envelope, (target,)).least_input_tokens() > free

    def room(self, wording: Wording, target: Target, refusals: int = 0) -> Room:
        """Return what a request may fill, the tighter the more often its vendor refused it as too long."""
        window = target.price.context_window
        free = _free(wording, window)
        bytes_per_token = max(self.lengths.mean(target.label) * PRUDENCE, 1.0)
        if refusals == 1:  # it had more tokens than `free`, so its tokens are shorter than this
            told = TIGHTER * wording.envelope.prompt_bytes / free
            bytes_per_token = max(min(bytes_per_token, told), 1.0)
        return Room(
            tokens=free,
            image_tokens=target.price.image_tokens_max or IMAGE_TOKENS_MAX,
            document_tokens=window,
            bytes_per_token=bytes_per_token if refusals < REFUSALS_MOST else 1.0,
        )

    def learn(self, target: Target, wording: Wording, meter: Meter) -> None:
        """Learn how long the tokens of a back end are from a prompt of text that it answered and counted."""
        envelope, usage = wording.envelope, meter.usage
        if usage is not None and not (meter.is_estimate or envelope.images or envelope.other_parts):
            self.lengths.learn(target.label, envelope.prompt_bytes, usage.input_tokens)


class ContextCare:
    """An `Inspection` that truncates conversations. One per process; comes before whatever reads the prompt."""

    def __init__(self, windows: Windows) -> None:
        """Go by `windows`."""
        self.windows = windows
        self.truncated = 0
        """Requests whose oldest turns were left out."""
        self.dropped = 0
        """Messages left out of them."""
        self.too_long = 0
        """Requests that were to be truncated and could not be made to fit; they went on as they came."""

    async def inspect(
        self, context: RequestContext, wording: Wording, targets: tuple[Target, ...], story: Story
    ) -> None:
        """Leave out what must be. Raises Invalid for a bad header, Forbidden for a choice callers do not have."""
        choice, _ = self.windows.chosen(context)
        if choice != "truncate_oldest" or not self.windows.may_be_over(wording, targets[0]):
            return
        wording.shortening = _Truncation(self, wording, targets[0])
        if self.windows.is_over(wording, targets[0]):
            shorter = self.cut(wording, self.windows.room(wording, targets[0]), story)
            if shorter is not None:
                wording.rewrite(shorter)

    def cut(self, wording: Wording, room: Room, story: Story) -> ChatRequest | None:
        """Return the request that fits `room`, None when it does as it is or cannot."""
        request = wording.request
        fit = fitted(request, room)
        if fit is None:
            self.too_long += 1
        elif fit is not request:
            self.left_out(len(request.messages) - len(fit.messages), wording, story)
            return fit
        return None

    def left_out(self, dropped: int, wording: Wording, story: Story) -> None:
        """Note that messages were left out of a request, for everybody who is told."""
        self.truncated += 1
        self.dropped += dropped
        wording.notes += b"x-penstock-context: truncated; dropped=%d\r\n" % dropped
        story.flag(FLAG)


class _Truncation:
    """A `Shortening` of one request by leaving out its oldest turns."""

    __slots__ = ("_care", "_refusals", "_target", "_wording")

    def __init__(self, care: ContextCare, wording: Wording, target: Target) -> None:
        self._care = care
        self._wording = wording
        self._target = target
        self._refusals = 0

    async def begin(self, _context: RequestContext, _meter: Meter, _story: Story) -> ChatRequest | None:
        """Return None: all was done when it was looked at."""
        return None

    async def shorter(self, _context: RequestContext, _meter: Meter, story: Story) -> ChatRequest | None:
        """Return the request shortened, now that its vendor found it too long; None when that is no use."""
        self._refusals += 1
        if self._refusals > REFUSALS_MOST:
            return None
        room = self._care.windows.room(self._wording, self._target, self._refusals)
        return self._care.cut(self._wording, room, story)


def _free(wording: Wording, window: int) -> int:
    return window - min(wording.envelope.output_limit or ANSWER_TOKENS, window // 2)


def _chosen(header: bytes | None, rules: ContextSettings) -> str:
    if header is None:
        return rules.on_overflow
    choice = header.decode("latin-1").strip().lower()
    if choice not in CHOICES:
        raise Invalid(
            "There is no such way with an overflow.", code="invalid_header", field=HEADER.decode(), value=choice[:64],
            remedy=f"Use one of: {', '.join(CHOICES)}.",
        )  # fmt: skip
    unable = choice == "summarise" and not rules.summary_model
    if choice != rules.on_overflow and (unable or not rules.callers_choose):
        raise Forbidden(
            "What becomes of a conversation that is too long is not yours to choose.", code="overflow_not_allowed",
            field=HEADER.decode(), value=choice, remedy=f"Leave the header out, or say {rules.on_overflow}.",
        )  # fmt: skip
    return choice
