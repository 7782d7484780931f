"""More than a page can show: the browser itself counts how often it is repainted.

A repaint is a change inside the element that moves, changes within 5 ms being one; the page's own word for it
(`data-paints`) is not asked. Requests come through the real gateway; `FAST` stands in for the stream where more is
wanted than a gateway gives: 5,000 fragments a second.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from playwright.sync_api import Page

from penstock.simulator.behaviour import Speeds
from tests.browser.theatre import House

VERBOSE = Speeds(
    first_token_s=0.02, first_token_sigma=0.1, tokens_per_s=1_500.0, answer_tokens=12_000.0, answer_sigma=0.1
)
"""A model that does not end soon."""
AT_ONCE = 60
"""Requests of one wave."""
MEASURE = """([id, ms]) => new Promise((done) => {
  const element = document.getElementById(id) || document.querySelector(id);
  const times = [];
  const watch = new MutationObserver(() => {
    const now = performance.now();
    if (!times.length || now - times[times.length - 1] > 5) times.push(now);
  });
  watch.observe(element, { childList: true, subtree: true, characterData: true });
  setTimeout(() => {
    watch.disconnect();
    const within = times.map((at) => times.filter((each) => each >= at && each < at + 1000).length);
    done([times.length, Math.max(0, ...within)]);
  }, ms);
})"""
FAST = """
window.sources = [];
window.EventSource = class extends EventTarget {
  constructor() {
    super();
    this.readyState = 1;
    sources.push(this);
    setTimeout(() => this.dispatchEvent(new Event("open")), 0);
    const isTable = location.pathname.endsWith("/requests");
    let row = 0;
    this.timer = setInterval(() => {
      for (let n = 0; n < 20; n += 1) {
        row += 1;
        const data = isTable ? `<tr><td>row ${row}</td></tr>` : `<p>${row}</p>`;
        this.dispatchEvent(new MessageEvent("paint", { data }));
      }
    }, 4);
  }
  close() { this.readyState = 2; clearInterval(this.timer); }
};
window.EventSource.CLOSED = 2;
"""


@dataclass(frozen=True)
class Repaints:
    """What a page did for some seconds: frames repainted in all, the most in any second, and what came."""

    page: str
    seconds: float
    events: int
    repaints: int
    most_per_s: int


def measured(page: Page, name: str, element: str, seconds: float, events: int = 0) -> Repaints:
    """Count repaints of an element (its id, or a selector) for some seconds."""
    repaints, most = page.evaluate(MEASURE, [element, seconds * 1000])
    return Repaints(name, seconds, events, repaints, most)


def under_requests(page: Page, it: House, name: str, element: str, seconds: float) -> Repaints:
    """Count repaints while the gateway is given as many requests as it takes."""
    done, sent = threading.Event(), [0]

    def pour() -> None:
        while not done.is_set():
            it.play(AT_ONCE, seed=1_000 + sent[0])
            sent[0] += AT_ONCE

    pouring = threading.Thread(target=pour)
    pouring.start()
    try:
        time.sleep(0.5)
        seen = measured(page, name, element, seconds)
    finally:
        done.set()
        pouring.join(60)
    return Repaints(name, seen.seconds, sent[0], seen.repaints, seen.most_per_s)
