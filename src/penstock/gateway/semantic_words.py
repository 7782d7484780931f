"""What English says in several ways: the lexicon of `semantic_guard`.

Promise: nothing here makes two words one that a careful reader would keep apart in a question. A word that is not here
stands for itself alone, so what this lexicon lacks costs a hit and never a wrong answer.
"""

from __future__ import annotations

from typing import Final


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


STARTERS: Final = _set(
    "what what's which who who's whose when when's where where's why how how's can can't could couldn't do don't "
    "does doesn't did didn't is isn't are aren't was wasn't were weren't has hasn't have haven't had will won't "
    "would should shouldn't must may might am i i'm i've i'll i'd my your his our their the this that these those "
    "it it's there there's he she we you they if please hi hello hey ok okay thanks thank many in on at for from "
    "to with without by before after during list explain show find give tell fix repair summarise summarize "
    "translate recommend describe write compare convert name send delete"
)
"""Words that a sentence begins with, whose capital says nothing there."""

BEFORE_I: Final = _set(
    "do did am was can could will would should shall must may might have had if that what when where which why how who "
    "and or but because than"
)
"""Words after which a lone "I" is whoever speaks, and no current, numeral or type."""

GREETINGS: Final = ("hi", "hello", "hey", "hi there", "hello there", "ok", "okay", "thanks")
"""What may be said before a question, if a mark of punctuation follows: "hello kitty" greets nobody."""
POLITENESS: Final = (
    "please", "please,", "tell me", "please tell me", "can you tell me", "could you tell me",
    "can you please tell me", "could you please tell me", "i want to know", "i would like to know",
    "can you help me", "could you help me", "please help me", "help me", "can you please", "could you please",
    "would you please",
)  # fmt: skip
"""What may be said before one as it stands."""
CLOSINGS: Final = {
    "please": ",.?!",
    "thanks": ".?!",
    "thank you": ".?!",
    "thanks a lot": ".?!",
    "many thanks": ".?!",
}
"""What may be said after a question, and one of the marks that must stand before it: "how do you say thanks" keeps its
last word.
"""
SAYING: Final = _set(
    "say says said saying word words phrase mean means meaning spell spells translate translation write pronounce "
    "rhyme rhymes answer reply sign"
)
"""Whoever uses one of these may be asking of the very words said after."""
ORDERS: Final = _set(
    "list explain show find give fix repair summarise summarize translate recommend describe write compare convert "
    "name"
)
"""Verbs before which "can you" asks for nothing but politeness."""

PHRASES: Final = (
    ("what is the best way to", "how best"),
    ("what steps do i take to", "how"),
    ("how do i", "how"),
    ("how can i", "how"),
    ("how could i", "how"),
    ("how to", "how"),
    ("is it possible to", "can i"),
    ("am i able to", "can i"),
    ("i'd like", "i would like"),
    ("i would like to", "i want to"),
    ("is there", "is"),
    ("are there", "are"),
    ("give me a summary of", "summarise"),
    ("no one", "nobody"),
    ("set up", "setup"),
    ("log in", "login"),
    ("turn on", "enable"),
    ("switch on", "enable"),
    ("turn off", "disable"),
    ("switch off", "disable"),
    ("is going to", "will"),
    ("are going to", "will"),
    ("the store", "the shop"),
    ("your store", "your shop"),
)
"""Whole words and what they are read as, the first first."""
STATES: Final = _set("know look feel sound seem smell appear rank score compare differ help")
"""Verbs before which no phrase is read as another: "how do I look" does not ask how to look."""

CONTRACTIONS: Final = (
    ("can't", "can not"),
    ("cannot", "can not"),
    ("won't", "will not"),
    ("n't", " not"),
    ("i'm", "i am"),
    ("'re", " are"),
    ("'ve", " have"),
    ("'ll", " will"),
)
IS_OR_HAS: Final = _set("what's where's who's how's when's that's there's it's")
"""These stand for "is" unless what follows is the form of a verb that "has" goes with."""
PARTICIPLES: Final = _set(
    "been become begun bought broken brought built chosen come cost cut done driven eaten fallen felt found got "
    "given gone grown had heard held hit kept known left lost made meant met paid put read risen run said seen "
    "sent set shown shut slept sold spent spoken stolen sung taken taught thought told understood won worn "
    "written"
)

ENGLISH: Final = IS_OR_HAS | _set(
    "the is are please into how what which when where why who can do does did my your of to in on for with and or it "
    "i me"
)
"""Who uses none of these may not be speaking English: nothing but spelling is evened out for him."""

SYNONYMS: Final = (
    "buy purchase",
    "big large",
    "begin start",
    "fix repair",
    "photo photograph",
    "phone telephone",
    "movie film",
    "car automobile",
    "get obtain",
    "reduce decrease",
    "what which",
    "approximately roughly",
    "colour color",
    "ill sick",
    "summarise summarize",
    "licence license",
    "until till",
    "toward towards",
    "email e-mail",
    "emails e-mails",
    "wifi wi-fi",
)
"""Words of which each may stand for the others in its row; for none in another."""

NEGATIONS: Final = _set("not no never none nobody nothing neither nor without except")

DETERMINERS: Final = _set("a an the my your his our their")
"""What stands before a noun and nowhere else, and moves along with it."""
FRONTED: Final = _set("in on at for from to with without by before after during until since")
"""Words that may begin a sentence with what could as well end it: "in Rome, is it warm"."""

_COUNTED: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
NUMBERS: Final = {word: str(number) for number, word in enumerate(_COUNTED.split())}
