"""A stand-in for the recogniser's helper process: it speaks the same messages and misbehaves on demand.

``Ann`` in a text is a PERSON. A text that begins with "crash" ends the process, with "hang" it never answers, with
"slow" it takes a tenth of a second, with "nonsense" it answers what is no answer, with "flood" it announces an answer
that is too long.
"""

from __future__ import annotations

import json
import struct
import sys
import time

from penstock.adapters.recognisers.presidio import ANSWER_BYTES_MOST


def say(message: bytes, length: int | None = None) -> None:
    """Send a message that says it is `length` long."""
    sys.stdout.buffer.write(struct.pack(">I", len(message) if length is None else length) + message)
    sys.stdout.buffer.flush()


def answer(texts: list[str]) -> None:
    """Answer one question, or misbehave."""
    order = texts[0].split(" ", 1)[0] if texts else ""
    if order == "crash":
        sys.exit(1)
    if order == "hang":
        time.sleep(60)
    if order == "slow":
        time.sleep(0.1)
    if order == "flood":
        say(b"{}", ANSWER_BYTES_MOST + 1)
        return
    if order == "nonsense":
        say(b"{}")
        return
    found = [
        [[text.find("Ann"), text.find("Ann") + 3, "PERSON", 0.85]] if "Ann" in text else [] for text in texts
    ]
    say(json.dumps({"found": found}).encode())


def main() -> None:
    """Say hello and answer until stdin ends."""
    if "mute" in sys.argv[-1]:
        sys.exit(1)
    if "modelless" in sys.argv[-1]:
        say(json.dumps({"entities": [], "error": "no such model"}).encode())
        return
    say(json.dumps({"entities": ["PERSON", "UK_NHS"]}).encode())
    while len(head := sys.stdin.buffer.read(4)) == 4:
        answer(json.loads(sys.stdin.buffer.read(struct.unpack(">I", head)[0]))["texts"])


if __name__ == "__main__":
    main()
