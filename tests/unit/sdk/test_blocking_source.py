"""The client without `async` is what its script writes from the async one, and lacks nothing of it."""

from __future__ import annotations

import inspect

import pytest

from penstock.sdk.blocking import BlockingClient
from penstock.sdk.calls import Calls
from penstock.sdk.client import Client
from scripts import blocking_client
from tests.unit.sdk.wires import Scripted

FILES = blocking_client.files()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_file_is_what_the_script_writes(path):
    assert path.read_text() == FILES[path], "run `python -m scripts.blocking_client`"


def test_every_public_method_is_there_with_the_same_parameters():
    client = Client(transport=Scripted())
    blocking = BlockingClient(client=client)
    blocking.close()
    pairs = [(client, blocking)]
    pairs += [
        (noun, getattr(blocking, name)) for name, noun in vars(client).items() if isinstance(noun, Calls)
    ]
    assert len(pairs) == 24
    for ours, theirs in pairs:
        for name, method in inspect.getmembers(ours, inspect.ismethod):
            if not name.startswith("_"):
                mirrored = inspect.signature(getattr(theirs, name))
                wanted = [
                    p.replace(annotation=p.empty) for p in inspect.signature(method).parameters.values()
                ]
                assert [p.replace(annotation=p.empty) for p in mirrored.parameters.values()] == wanted, name
                assert inspect.getdoc(getattr(theirs, name)), name


def noun(tmp_path, method: str):
    """Return a module that holds a noun with one method."""
    path = blocking_client.SDK / "nouns" / "seeded.py"
    module = object.__new__(blocking_client.Module)
    source = f'"""Seeded."""\nclass SeedCalls:\n    """Seeds."""\n\n{method}'
    tree = blocking_client.ast.parse(source)
    module.name, module.source, module.tree, module.homes = path.stem, source, tree, {}
    module.classes = {"SeedCalls": tree.body[1]}
    return module


@pytest.mark.parametrize(
    "method",
    [
        '    async def a(self):\n        """A."""\n',
        "    async def a(self) -> int:\n        return 1\n",
        '    def a(self) -> int:\n        """A."""\n',
        '    async def a(self, b, /) -> int:\n        """A."""\n',
    ],
    ids=["no type", "no words", "neither async nor a stream", "positional only"],
)
def test_what_the_script_does_not_understand_it_refuses(tmp_path, method):
    module = noun(tmp_path, method)
    with pytest.raises(TypeError):
        blocking_client.Writer().noun(module, module.classes["SeedCalls"])
