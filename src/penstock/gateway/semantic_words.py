"""What English says in several ways: the lexicon of `semantic_guard`.

Promise: nothing here makes two words one that a careful reader would keep apart in a question. A word that is not here
stands for itself alone, so what this lexicon lacks costs a hit and never a wrong answer.
"""

from __future__ import annotations

from typing import Final


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


OPENINGS: Final = (
    "hi", "hello", "hey", "hi there", "hello there", "please", "ok", "okay", "thanks", "tell me", "please tell me",
    "can you tell me", "could you tell me", "can you please tell me", "could you please tell me", "i want to know",
    "i would like to know", "can you help me", "could you help me", "please help me", "help me",
    "can you please", "could you please", "would you please",
)  # fmt: skip
"""What may be said before a question, and is left off there alone: "how do you say hello" keeps its last word."""
CLOSINGS: Final = ("please", "thanks", "thank you", "thanks a lot", "many thanks")
"""What may be said after one."""
ORDERS: Final = _set(
    "list explain show find give fix repair summarise translate recommend describe write compare convert name"
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
    ("i would like to", "i want to"),
    ("what time do", "when do"),
    ("what time does", "when do"),
    ("is there", "is"),
    ("are there", "is"),
    ("give me a summary of", "summarise"),
    ("summarize", "summarise"),
    ("set up", "setup"),
    ("log in", "login"),
    ("turn on", "enable"),
    ("switch on", "enable"),
    ("turn off", "disable"),
    ("switch off", "disable"),
    ("is going to", "will"),
    ("are going to", "will"),
    ("more than", "over"),
    ("less than", "under"),
    ("fewer than", "under"),
    ("e mail", "email"),
    ("e mails", "email"),
    ("wi fi", "wifi"),
)
"""Whole words and what they are read as, the first first."""

CONTRACTIONS: Final = (
    ("can't", "can not"),
    ("cannot", "can not"),
    ("won't", "will not"),
    ("n't", " not"),
    ("what's", "what is"),
    ("where's", "where is"),
    ("who's", "who is"),
    ("how's", "how is"),
    ("when's", "when is"),
    ("that's", "that is"),
    ("there's", "there is"),
    ("it's", "it is"),
    ("i'm", "i am"),
    ("'re", " are"),
    ("'ve", " have"),
    ("'ll", " will"),
    ("i'd", "i would"),
)

NOTHING: Final = _set("a an the this that these those is are am be being do does please me my and kindly")
"""Words without which a question asks the same. What counts, bounds, denies or orders is not among them."""

ENGLISH: Final = _set(
    "the is are please into how what which when where why who can do does did my your of to in on for with and or it "
    "i me"
)
"""Who uses none of these may not be speaking English: nothing but spelling is evened out for him."""

SYNONYMS: Final = (
    "buy purchase",
    "price cost",
    "big large",
    "begin start",
    "fix repair",
    "quick fast",
    "picture photo photograph",
    "phone telephone",
    "movie film",
    "car automobile",
    "shop store",
    "get obtain",
    "lower reduce decrease",
    "raise increase",
    "what which",
    "holiday vacation",
    "need require",
    "approximately roughly",
    "colour color",
    "summarise summarize",
    "ill sick",
    "licence license",
)
"""Words of which each may stand for the others in its row; for none in another."""

NEGATIONS: Final = _set("not no never none nobody nothing neither nor without except")

BINDING: Final = _set(
    "to from into onto than by before after since until till over under above below between against without with "
    "except versus vs via per in at of for toward towards around through during behind within as on off up down out "
    "about like minus plus times"
)
"""Words that bind the word after them: "to london"."""

_COUNTED: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
NUMBERS: Final = {word: str(number) for number, word in enumerate(_COUNTED.split())}
IRREGULAR: Final = {"children": "child", "men": "man", "women": "woman", "till": "until", "towards": "toward"}
"""Forms of a word that its ending does not tell."""
KEEPS_ITS_S: Final = _set("has was yes news series species means bias lens perhaps always besides")
CASED: Final = _set("us it who polish turkey march may august china will mark bill rose go swift rust")
"""Words that mean something else with a capital letter."""
