"""Which requests are easy enough for a small model, and when a small model's answer is not good enough.

    tag         the caller says what it is about: ``x-penstock-task``
    heuristic   short, and without the words that mark hard ones
    classifier  a logistic model over ten cheap features (mechanisms/data/complexity.json, scripts/train_complexity.py)
    cascade     the small model answers first; `Cascade` says whether the large one must be asked

Promises: a judge is pure and takes microseconds; its reason says what decided; a text is read up to `CHARS_MOST`.
What the classifier is and is not: it knows the shape of a prompt (length, code, numbers, what is asked for), not its
subject; how often it is right on texts it was not trained on stands beside its weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

from penstock.kernel.chat import ChatReply, ChatRequest, Text

SMALL: Final = "small"
LARGE: Final = "large"
CHARS_MOST: Final = 20_000
REFUSALS: Final = re.compile(
    r"(?i)\b(?:i(?:'m| am) (?:sorry|unable|not able)|i (?:can(?:no|')t|do(?:n't| not) know)|as an ai\b)"
)
"""How small models say that they will not, or cannot; looked for in the beginning of an answer."""
REFUSAL_CHARS: Final = 200

_WORD: Final = re.compile(r"\w+")
_CODE: Final = re.compile(r"```|[{};]\s*$|\bdef \w+\(|\bclass \w+|\bSELECT\b|=>|->|::", re.MULTILINE)
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
_STEPS: Final = re.compile(
    r"(?i)\b(?:prove|derive|design|architect\w*|refactor|optimi[sz]e|debug|analy[sz]e|compare|trade-?offs?|"
    r"implement|algorithm|strategy|explain why|step by step|evaluate|critique|plan|diagnose|reconcile|simulate)\b"
)
_LIGHT: Final = re.compile(
    r"(?i)\b(?:translate|summari[sz]e|classify|extract|rewrite|rephrase|spell|capital of|what is|who is|when did|"
    r"list|define|convert|hello|hi|thanks|label|title|shorten|fix the typo|correct the grammar)\b"
)
_BOUNDS: Final = re.compile(
    r"(?i)\b(?:must|at least|at most|without|given that|assume|constraint|unless|except|should not|guarantee)\b"
)


def features(text: str) -> tuple[float, ...]:
    """Return what the classifier looks at, each about 0 to 1."""
    words = len(_WORD.findall(text))
    return (
        min(math.log1p(words) / 7, 1.5),
        1.0 if words < 12 else 0.0,
        min(len(_STEPS.findall(text)) / 3, 1.0),
        min(len(_LIGHT.findall(text)) / 2, 1.0),
        1.0 if _CODE.search(text) else 0.0,
        min(len(_NUMBER.findall(text)) / 8, 1.0),
        min(len(_BOUNDS.findall(text)) / 3, 1.0),
        min(text.count("?") / 3, 1.0),
        min(text.count("\n") / 20, 1.0),
        min(text.count(",") / 10, 1.0),
    )


class Weights(msgspec.Struct, frozen=True):
    """A trained model. `accuracy` was measured on `held_out` texts that it had not seen."""

    bias: float
    weights: tuple[float, ...]
    accuracy: float
    held_out: int

    def hardness(self, text: str) -> float:
        """Return the chance that `text` needs a large model, 0 to 1."""
        score = self.bias + sum(
            weight * value for weight, value in zip(self.weights, features(text[:CHARS_MOST]), strict=True)
        )
        return 1 / (1 + math.exp(-max(min(score, 30.0), -30.0)))


@cache
def shipped() -> Weights:
    """Return the classifier that ships with the platform."""
    return msgspec.json.decode(
        (files("penstock.mechanisms") / "data" / "complexity.json").read_bytes(), type=Weights
    )


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """Tells easy requests from hard ones, `by` one of the ways above."""

    by: str
    small_tasks: frozenset[str] = frozenset()
    words: tuple[str, ...] = ()
    easy_tokens: int = 500
    threshold: float = 0.5

    def is_easy(self, task: str, input_tokens: int, text: Callable[[], str]) -> tuple[bool, str]:
        """Return whether the small model is to be asked first, and why."""
        if self.by == "tag":
            return task in self.small_tasks, f"task {task or 'not given'}"
        if self.by == "cascade":
            return True, "cascade"
        if self.by == "classifier":
            hardness = shipped().hardness(text())
            return hardness < self.threshold, f"hardness {hardness:.2f}"
        if input_tokens > self.easy_tokens:
            return False, f"over {self.easy_tokens} tokens"
        said = text()[:CHARS_MOST].casefold()
        found = next((word for word in self.words if word.casefold() in said), "")
        return (False, f"says {found}") if found else (True, "short and plain")


def last_words(request: ChatRequest) -> str:
    """Return what the user said last, which is what a judge looks at."""
    for message in reversed(request.messages):
        if message.role == "user":
            return "\n".join([part.text for part in message.content if isinstance(part, Text)])
    return ""


class Cascade(msgspec.Struct, frozen=True):
    """Decides whether a small model's whole answer is kept. `threshold` is a probability, 0 to 1."""

    threshold: float

    def next(
        self, reply: ChatReply, logprobs: Sequence[float] | None = None, *, fits: bool = True
    ) -> str | None:
        """Return why the large model must be asked, None to keep the answer.

        `logprobs` are the natural logarithms of the answer's tokens' probabilities, where the vendor tells them: their
        mean is the model's own confidence. `fits` is what a check of the structured output said.
        """
        if not fits:
            return "does not fit its schema"
        if "length" in reply.finishes:
            return "cut at its length"
        if "content_filter" in reply.finishes:
            return "filtered"
        said = "".join(
            [part.text for part in reply.choices[0].content if isinstance(part, Text)]
            if reply.choices
            else []
        )
        calls = bool(reply.choices and reply.choices[0].tool_calls)
        if not said.strip() and not calls:
            return "empty"
        if reply.choices[0].refusal or (not calls and REFUSALS.search(said[:REFUSAL_CHARS])):
            return "refused"
        if logprobs:
            sure = math.exp(sum(logprobs) / len(logprobs))
            if sure < self.threshold:
                return f"confidence {sure:.2f}"
        return None
