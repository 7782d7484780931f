"""Writes the client without `async` from the async one: `python -m scripts.blocking_client`.

    sdk/streams.py, sdk/nouns/*.py ──► classes, signatures, docstrings ──► sdk/blocking_{nouns,knowledge,streamed}.py
    sdk/client.py                  ──►                                 ──► sdk/blocking.py

Promises: every public method and property of the client is there under its own name, with its own parameters, types
and words; the text is laid out as `ruff format` would, so no tool is needed; what is not understood is refused.
tests/unit/sdk/test_blocking_source.py compares the files with what this would write.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SDK = ROOT / "src" / "penstock" / "sdk"
LINE_CHARS = 110
RUNTIME = "penstock.sdk.background"
NOUNS = "penstock.sdk.blocking_nouns"
KNOWLEDGE = "penstock.sdk.blocking_knowledge"
STREAMED = "penstock.sdk.blocking_streamed"
"""The nouns that have streams, and those."""
STREAMS = ("Live", "ChatStream")

Method = ast.FunctionDef | ast.AsyncFunctionDef

CLIENT_HEAD = '''"""The client without `async`: the same calls, made on a background thread.

    with BlockingClient("http://127.0.0.1:8700", key) as client:
        answer = client.chat.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}])
        with client.chat.stream(model="gpt-4o-mini", messages=[…]) as stream:
            for chunk in stream: …

Promises: those of `sdk/client.py` and of `sdk/background.py`.
Written by scripts/blocking_client.py: change the async client, then run that.
"""

from __future__ import annotations

'''

NOUNS_HEAD = '''"""{what} of the client without `async`; see `sdk/blocking.py`.

Promises: those of `sdk/nouns` and of `sdk/background.py`.
Written by scripts/blocking_client.py: change the async client, then run that.
"""

from __future__ import annotations

'''

CLIENT = '''
class BlockingClient:
    """{doc}"""

    def __init__(
        self,
        base_url: str = "",
        key: str = "",
        *,
        client: Client | None = None,
        beside: Background | None = None,
    ) -> None:
        """Reach the server at `base_url` under `key`; or use `client`, which then nobody else may use.

        `beside` is the background of another client to share; see `under`. Raises Invalid as `Client` does.
        """
        self._client = client or Client(base_url, key)
        self._background = background = beside or Background(self._client.close)
        self._is_own = beside is None
{nouns}
    def __enter__(self) -> Self:
        """Use as a context."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """{close}"""
        if self._is_own:
            self._background.close()
        elif self._background.is_alive:
            self._background.run(self._client.close())

    def under(self, token: str, peer: str = "") -> BlockingClient:
        """{under}"""
        return BlockingClient(client=self._client.under(token, peer), beside=self._background)
'''
BY_HAND = {"close", "under"}


class Module:
    """One file of the client: its classes, and where the names it uses come from."""

    def __init__(self, path: Path) -> None:
        """Read it."""
        self.name = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
        self.source = path.read_text(encoding="utf-8")
        self.tree = ast.parse(self.source)
        self.classes = {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}
        self.homes: dict[str, str] = {}
        for node in self.tree.body:
            if isinstance(node, ast.ImportFrom):
                self.homes |= {alias.name: node.module or "" for alias in node.names}
            elif isinstance(node, ast.ClassDef):
                self.homes[node.name] = self.name
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                self.homes |= {t.id: self.name for t in targets if isinstance(t, ast.Name)}

    def text(self, node: ast.AST) -> str:
        """Return a node as it is written."""
        found = ast.get_source_segment(self.source, node)
        if found is None:
            raise ValueError(f"{self.name}: no source of {ast.dump(node)}")
        return found

    def doc(self, node: ast.ClassDef | Method) -> str:
        """Return a docstring's inside as it is written, said of a client that does not wait."""
        first = node.body[0]
        if not isinstance(first, ast.Expr):
            raise TypeError(f"{self.name}: {node.name} has no docstring")
        return self.text(first.value).removeprefix('"""').removesuffix('"""').replace("async with", "with")


class Writer:
    """Collects the classes of the blocking client and the imports they need."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.parts: list[str] = []
        self.imports: set[tuple[str, str]] = set()

    def stream(self, module: Module, node: ast.ClassDef) -> None:
        """Write a stream: its properties; the rest is `BlockingStream`'s."""
        (base,) = node.bases
        self.imports |= {(RUNTIME, "Background"), (RUNTIME, "BlockingStream"), (module.name, node.name)}
        of = module.text(base).partition("[")[2].removesuffix("]")
        mine = f"{node.name}[{of}]" if of == "T" else node.name
        if of == "T":
            self.imports |= {("typing", "TypeVar")}
        self._need(module, base)
        lines = [
            f"class Blocking{node.name}(BlockingStream[{of}]):",
            f'    """{module.doc(node)}"""',
            "",
            f"    def __init__(self, background: Background, stream: {mine}) -> None:",
            '        """Read `stream`."""',
            "        super().__init__(background, stream)",
            "        self._source = stream",
        ]
        for method in methods(node):
            if method.name == "close":
                continue
            if not any(isinstance(d, ast.Name) and d.id == "property" for d in method.decorator_list):
                raise TypeError(f"{node.name}.{method.name} is not a property")
            lines += ["", "    @property", *self._head(module, method), *document(module, method)]
            lines += [f"        return self._source.{method.name}"]
        self.parts.append("\n".join(lines))

    def noun(self, module: Module, node: ast.ClassDef) -> None:
        """Write a noun: each of its methods."""
        self.imports |= {(RUNTIME, "BlockingCalls"), (module.name, node.name)}
        lines = [f"class Blocking{node.name}(BlockingCalls[{node.name}]):", f'    """{module.doc(node)}"""']
        for method in methods(node):
            lines += ["", *self._method(module, method, "self._calls", "self._run")]
        self.parts.append("\n".join(lines))

    def client(self, module: Module, homes: dict[str, str]) -> None:
        """Write the client itself; `homes` says in which file each noun is."""
        node = module.classes["Client"]
        self.imports |= {("typing", "Self"), (RUNTIME, "Background"), (module.name, "Client")}
        self.imports |= {(homes[noun], f"Blocking{noun}") for _, noun in attributes(node)}
        public = {method.name: method for method in methods(node)}
        words = {name: module.doc(public[name]) for name in ("close", "under")}
        nouns = "".join(
            f"        self.{attribute} = Blocking{noun}(background, self._client.{attribute})\n"
            for attribute, noun in attributes(node)
        )
        lines = [CLIENT.format(doc=module.doc(node), nouns=nouns, **words).strip("\n")]
        for name, method in public.items():
            if name not in BY_HAND:
                lines += ["", *self._method(module, method, "self._client", "self._background.run")]
        self.parts.append("\n".join(lines))

    def written(self, head: str) -> str:
        """Return the whole file."""
        letter = '\nT = TypeVar("T")\n' if ("typing", "TypeVar") in self.imports else ""
        return head + "\n".join(imports(self.imports)) + f"\n{letter}\n\n" + "\n\n\n".join(self.parts) + "\n"

    def _method(self, module: Module, method: Method, of: str, run: str) -> list[str]:
        """Write a method that does what its namesake does."""
        lines = [*self._head(module, method), *document(module, method)]
        call = layout(f"{of}.{method.name}", given(method))
        if isinstance(method, ast.AsyncFunctionDef):
            if len(call) == 1:
                return [*lines, f"        return {run}({call[0].strip()})"]
            return [*lines, f"        work = {call[0].strip()}", *call[1:], f"        return {run}(work)"]
        made = stream_of(method)
        if len(call) == 1:
            return [*lines, f"        return Blocking{made}(self._background, {call[0].strip()})"]
        lines += [f"        stream = {call[0].strip()}", *call[1:]]
        return [*lines, f"        return Blocking{made}(self._background, stream)"]

    def _head(self, module: Module, method: Method) -> list[str]:
        """Write a method's signature, on one line if it fits."""
        if method.returns is None:
            raise TypeError(f"{method.name} does not say what it returns")
        parameters = list(declared(module, method))
        for node in [method.returns, *(a.annotation for a in every(method.args) if a.annotation)]:
            self._need(module, node)
        returns = module.text(method.returns)
        if not isinstance(method, ast.AsyncFunctionDef) and not method.decorator_list:
            returns = f"Blocking{returns}"
        line = f"    def {method.name}({', '.join(parameters)}) -> {returns}:"
        if len(line) <= LINE_CHARS:
            return [line]
        return [f"    def {method.name}(", *(f"        {p}," for p in parameters), f"    ) -> {returns}:"]

    def _need(self, module: Module, annotation: ast.AST) -> None:
        """Import what an annotation names."""
        for node in ast.walk(annotation):
            if (
                isinstance(node, ast.Name)
                and node.id not in vars(builtins)
                and node.id not in ("T", *STREAMS)
            ):
                if node.id == "EventStream":
                    continue
                self.imports.add((module.homes[node.id], node.id))


def methods(node: ast.ClassDef) -> Iterator[Method]:
    """Yield the public methods of a class."""
    for item in node.body:
        if isinstance(item, Method) and not item.name.startswith("_"):
            yield item


def attributes(client: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Yield the nouns of the client: attribute and class."""
    for node in ast.walk(client):
        match node:
            case ast.Assign(
                targets=[ast.Attribute(value=ast.Name("self"), attr=attribute)],
                value=ast.Call(func=ast.Name(noun)),
            ):
                yield attribute, noun


def every(arguments: ast.arguments) -> list[ast.arg]:
    """Return every parameter."""
    stars = [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
    return [*arguments.args, *arguments.kwonlyargs, *stars]


def declared(module: Module, method: Method) -> Iterator[str]:
    """Yield the parameters as they are written."""
    arguments = method.args
    if arguments.posonlyargs:
        raise TypeError(f"{method.name} has positional-only parameters")
    bare = len(arguments.args) - len(arguments.defaults)
    for at, argument in enumerate(arguments.args):
        default = arguments.defaults[at - bare] if at >= bare else None
        yield parameter(module, argument, default)
    if arguments.vararg is not None:
        yield f"*{parameter(module, arguments.vararg, None)}"
    elif arguments.kwonlyargs:
        yield "*"
    for argument, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield parameter(module, argument, value)
    if arguments.kwarg is not None:
        yield f"**{parameter(module, arguments.kwarg, None)}"


def parameter(module: Module, argument: ast.arg, default: ast.expr | None) -> str:
    """Return one parameter as it is written; a default that is a constant of its module is written out."""
    words = f"{argument.arg}: {module.text(argument.annotation)}" if argument.annotation else argument.arg
    if default is None:
        return words
    value = module.text(default)
    if isinstance(default, ast.Name):
        value = next(
            module.text(node.value)
            for node in module.tree.body
            if isinstance(node, ast.AnnAssign) and node.value and module.text(node.target) == default.id
        )
    return f"{words} = {value}"


def given(method: Method) -> list[str]:
    """Return what a method hands on."""
    arguments = method.args
    words = [a.arg for a in arguments.args[1:]]
    words += [f"*{arguments.vararg.arg}"] if arguments.vararg else []
    words += [f"{a.arg}={a.arg}" for a in arguments.kwonlyargs]
    return words + ([f"**{arguments.kwarg.arg}"] if arguments.kwarg else [])


def layout(function: str, words: list[str]) -> list[str]:
    """Return a call, on one line if it fits beside what goes around it."""
    line = f"        {function}({', '.join(words)})"
    if len(line) <= LINE_CHARS - 40:
        return [line]
    return [f"        {function}(", *(f"            {word}," for word in words), "        )"]


def stream_of(method: Method) -> str:
    """Return the class of the stream that a plain method makes."""
    made = method.returns.value if isinstance(method.returns, ast.Subscript) else method.returns
    if not isinstance(made, ast.Name) or made.id not in STREAMS:
        raise TypeError(f"{method.name} is neither async nor makes a stream")
    return made.id


def document(module: Module, method: Method) -> list[str]:
    """Return a method's docstring."""
    return [f'        """{module.doc(method)}"""']


def imports(names: Iterable[tuple[str, str]]) -> list[str]:
    """Return import lines, sorted and laid out as isort does; ours after the standard library's."""
    homes: dict[str, list[str]] = {}
    for home, name in sorted(names):
        homes.setdefault(home, []).append(name)
    lines: list[str] = []
    ours = False
    for home in sorted(homes, key=lambda name: (name.startswith("penstock."), name)):
        if home.startswith("penstock.") and not ours:
            ours = True
            lines.append("")
        sorted_names = sorted(homes[home], key=lambda name: (not name.isupper(), name.lower()))
        line = f"from {home} import {', '.join(sorted_names)}"
        lines += [line] if len(line) <= LINE_CHARS else [f"from {home} import ("]
        if len(line) > LINE_CHARS:
            lines += [*(f"    {name}," for name in sorted_names), ")"]
    return lines


def files() -> dict[Path, str]:
    """Return the files that the client without `async` is made of."""
    nouns, knowledge, streams, whole = Writer(), Writer(), Writer(), Writer()
    client = Module(SDK / "client.py")
    modules = [Module(path) for path in sorted((SDK / "nouns").glob("[!_]*.py"))]
    for module in [Module(SDK / "streams.py"), *modules]:
        for name in STREAMS:
            if name in module.classes:
                streams.stream(module, module.classes[name])
    held = {noun for _, noun in attributes(client.classes["Client"])}
    homes: dict[str, str] = {}
    for module in modules:
        for name, node in module.classes.items():
            if name not in held:
                continue
            if any(isinstance(method, ast.FunctionDef) for method in methods(node)):
                homes[name], writer = STREAMED, streams
            elif module.name.endswith(".knowledge"):
                homes[name], writer = KNOWLEDGE, knowledge
            else:
                homes[name], writer = NOUNS, nouns
            writer.noun(module, node)
    whole.client(client, homes)
    return {
        SDK / "blocking_nouns.py": nouns.written(NOUNS_HEAD.format(what="The nouns")),
        SDK / "blocking_knowledge.py": knowledge.written(NOUNS_HEAD.format(what="Knowledge: the nouns")),
        SDK / "blocking_streamed.py": streams.written(NOUNS_HEAD.format(what="The streams and their nouns")),
        SDK / "blocking.py": whole.written(CLIENT_HEAD),
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
