"""The way through Knowledge: the key to look with, a search and what its scores are made of, documents, jobs, models.

It is walked on a collection filled beforehand, with a document that cannot be read and one that is not for everybody.
"""

from __future__ import annotations

from penstock.mechanisms.tenancy import KeyDoc
from penstock.sdk.client import Client
from penstock.sdk.knowledge import CollectionRequest, DocumentRequest
from tests.browser.theatre import House
from tests.browser.walk import Path, Walk

GUIDES = "guides"
TEXTS = {
    "gate": "The sluice gate opens when the water rises above four metres.",
    "cheese": "Cheddar is aged in cool caves for a year.",
    "evil <img src=x onerror=alert(1)>": "<script>alert(1)</script> A pump must be primed before it starts.",
}
QUESTION = "When does the sluice gate open?"
LABEL = "crew"
WAITS_MS = 30_000
"""The first search of a process waits for the processes that compute it."""


async def filled(it: House) -> str:
    """Make a key and a collection with documents of which one fails; returns the key."""
    doc = KeyDoc(id="", mac="", org="default", team="search", project="web", user="kim", name="docs key")
    _, token = await it.stage.platform.tenancy.create_key(doc)
    async with Client(it.url, token) as client:
        await client.collections.create(CollectionRequest(name=GUIDES))
        sent = [DocumentRequest(id=name, text=text) for name, text in TEXTS.items()]
        sent.append(DocumentRequest(id="secret", text="The gate's key lies there.", acl=(LABEL,)))
        sent.append(DocumentRequest(id="broken", content="JVBERi0=", media_type="application/pdf"))
        await client.collections.add(GUIDES, sent)
    return token


def knowledge(walk: Walk) -> None:
    """Be asked for a key, give a wrong one and the right one, see a job end and why a document failed, search with and
    without a label, delete a document, see which model searches, and let go of the key.
    """
    page, token = walk.page, walk.house.run(filled(walk.house))
    walk.visit("Knowledge")
    walk.look("knowledge: whose collections")
    walk.write("API key", "pen-of-nobody")
    with walk.refusal(400):
        walk.button("Look")
        page.get_by_role("alert").wait_for()
    walk.look("knowledge: a key that is none")
    walk.write("API key", token)
    walk.button("Look")
    page.locator("#collections").get_by_role("link", name=GUIDES, exact=True).wait_for()
    walk.look("knowledge: collections")
    walk.link(GUIDES)
    walk.sees(GUIDES)
    walk.link("Jobs")
    page.locator("#jobs").get_by_text("partial", exact=True).wait_for(timeout=WAITS_MS)
    walk.look("knowledge: jobs")
    walk.press(page.locator("#jobs tbody a").first)
    page.get_by_role("region", name="Failures").first.wait_for()
    walk.look("knowledge: a job with its failure")
    walk.link("Search")
    page.get_by_label("Question").wait_for()
    walk.write("Question", QUESTION)
    walk.button("Search")
    page.locator(".found > li h3", has_text="gate").first.wait_for(timeout=WAITS_MS)
    walk.look("knowledge: what is found")
    walk.write("Labels of the asker", LABEL)
    walk.button("Search")
    page.locator(".found").get_by_text("secret", exact=True).first.wait_for()
    walk.link("Documents")
    page.locator("#documents").wait_for()
    walk.look("knowledge: documents")
    walk.button("Delete", page.locator("#documents tr", has_text="cheese"))
    page.get_by_role("dialog").wait_for()
    walk.look("knowledge: asked once more")
    walk.press(page.get_by_role("dialog").get_by_role("button", name="Delete"))
    page.get_by_role("status").get_by_text("cheese is deleted").first.wait_for()
    walk.button("Dismiss")
    walk.link("Model")
    page.locator("#migrations").wait_for()
    walk.look("knowledge: its model")
    walk.visit("Knowledge")
    walk.button("Another key")
    page.get_by_label("API key", exact=True).wait_for()


KNOWLEDGE: dict[str, Path] = {"Knowledge": knowledge}
