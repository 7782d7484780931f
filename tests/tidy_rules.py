"""The rules of the house as pure functions: a file in, what is wrong with it out.

Promise: each rule reads one `Source` and returns one line per violation, `path:line what`; nothing for a file that
does not concern it. `RULES` is the whole list; tests/test_tidy.py runs it on every file of the repository and on
a seeded violation of each. Words that the rules forbid are put together from pieces here, so that this file passes.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath

FILE_LINES = 400
FUNCTION_LINES = 60
COMPLEXITY = 10
POSITIONAL = 6

# (path, function): why it may be more complex than the limit. At most three.
COMPLEX: dict[tuple[str, str], str] = {}

# path: why this `__init__.py` holds more than a docstring.
INITS: dict[str, str] = {
    "src/penstock/__init__.py": "the client is what others import, loaded when first asked for (decision 008)",
}

MONEY = (
    "src/penstock/kernel/money.py",
    "src/penstock/ports/ledger.py",
    "src/penstock/mechanisms/ledger*.py",
    "src/penstock/adapters/ledger/*.py",
)
ENVIRONMENT = "src/penstock/wiring/settings.py"
FORBIDDEN_NAMES = {"util", "utils", "helper", "helpers", "common", "misc"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One file of the repository: its path from the root, with forward slashes, and its text."""

    path: str
    text: str

    @functools.cached_property
    def lines(self) -> list[str]:
        """The text by lines."""
        return self.text.splitlines()

    @property
    def is_python(self) -> bool:
        """Whether the rules on Python concern it."""
        return self.path.endswith(".py")

    @property
    def is_ours(self) -> bool:
        """Whether it is part of the package rather than of its tests and scripts."""
        return self.path.startswith("src/")

    @functools.cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text, self.path)

    @functools.cached_property
    def nodes(self) -> list[ast.AST]:
        """Every node of the tree."""
        return list(ast.walk(self.tree)) if self.is_python else []

    @property
    def functions(self) -> Iterator[Function]:
        """Every function and method, nested ones included."""
        return (node for node in self.nodes if isinstance(node, Function))

    def at(self, line: int, what: str) -> str:
        """Word a violation."""
        return f"{self.path}:{line} {what}"


Rule = Callable[[Source], list[str]]


def file_is_short(source: Source) -> list[str]:
    """A file of code has at most 400 lines."""
    code = source.path.endswith((".py", ".lua", ".sql", ".js", ".mjs", ".sh", ".css", ".html"))
    count = len(source.lines)
    return [source.at(count, f"{count} lines, at most {FILE_LINES}")] if code and count > FILE_LINES else []


def functions_are_short(source: Source) -> list[str]:
    """A function has at most 60 lines, its docstring included."""
    lengths = ((f, (f.end_lineno or f.lineno) - f.lineno + 1) for f in source.functions)
    return [
        source.at(f.lineno, f"{f.name}: {length} lines, at most {FUNCTION_LINES}")
        for f, length in lengths
        if length > FUNCTION_LINES
    ]


def functions_are_simple(source: Source) -> list[str]:
    """A function has a cyclomatic complexity of at most 10, unless it is listed with its reason."""
    forks = ast.If | ast.For | ast.AsyncFor | ast.While | ast.ExceptHandler | ast.match_case
    found = []
    for function in source.functions:
        complexity = 1 + sum(isinstance(node, forks) for node in ast.walk(function))
        if complexity > COMPLEXITY and (source.path, function.name) not in COMPLEX:
            what = f"{function.name}: complexity {complexity}, at most {COMPLEXITY}"
            found.append(source.at(function.lineno, what))
    return found


def functions_take_few_arguments(source: Source) -> list[str]:
    """A function takes at most 6 positional parameters, `self` aside."""
    found = []
    for function in source.functions:
        arguments = [*function.args.posonlyargs, *function.args.args]
        named = [a.arg for a in arguments if a.arg not in {"self", "cls"}]
        if len(named) > POSITIONAL:
            what = f"{function.name}: {len(named)} positional parameters, at most {POSITIONAL}"
            found.append(source.at(function.lineno, what))
    return found


def nothing_is_global(source: Source) -> list[str]:
    """No function rebinds a module's name."""
    return [source.at(n.lineno, "`global`") for n in source.nodes if isinstance(n, ast.Global)]


def own_imports_are_at_the_top(source: Source) -> list[str]:
    """No function imports a module of ours: the graph of imports is what one reads at the top."""
    found = []
    for function in source.functions:
        for node in ast.walk(function):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "penstock"]
            if any(name.split(".")[0] in {"penstock", "tests"} for name in names):
                found.append(source.at(node.lineno, f"import of ours inside {function.name}"))
    return found


def environment_is_read_in_one_file(source: Source) -> list[str]:
    """Only wiring/settings.py reads the environment."""
    if not source.is_ours or source.path == ENVIRONMENT:
        return []
    readers = {"environ", "environb", "getenv", "getenvb", "putenv"}
    found = []
    for node in source.nodes:
        reads = isinstance(node, ast.Attribute) and node.attr in readers
        imports = isinstance(node, ast.ImportFrom) and node.module == "os"
        if reads or (imports and any(a.name in readers for a in node.names)):
            found.append(source.at(node.lineno, f"the environment is read in {ENVIRONMENT} only"))
    return found


def broad_excepts_say_why(source: Source) -> list[str]:
    """`except`, `except Exception` and `except BaseException` carry a comment `# because …` on their line."""
    found = []
    for node in source.nodes:
        if not isinstance(node, ast.ExceptHandler):
            continue
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        broad = any(
            k is None or (isinstance(k, ast.Name) and k.id in {"Exception", "BaseException"}) for k in kinds
        )
        header = source.lines[node.lineno - 1 : max(node.lineno, node.body[0].lineno - 1)]
        if broad and not re.search(r"#.*\bbecause \w+ \w+", "\n".join(header)):
            found.append(source.at(node.lineno, "broad except without `# because …`"))
    return found


def modules_open_with_a_docstring(source: Source) -> list[str]:
    """A module opens with what it is and what it promises; an empty `__init__.py` may stay empty."""
    if not source.is_python or not source.text.strip() or ast.get_docstring(source.tree):
        return []
    return [source.at(1, "no module docstring")]


def inits_hold_at_most_a_docstring(source: Source) -> list[str]:
    """An `__init__.py` holds nothing but a docstring, unless it is listed with its reason."""
    if PurePosixPath(source.path).name != "__init__.py" or source.path in INITS:
        return []
    more = source.tree.body[1:] if ast.get_docstring(source.tree) else source.tree.body
    return [source.at(node.lineno, "more than a docstring in __init__.py") for node in more[:1]]


def names_say_what_is_inside(source: Source) -> list[str]:
    """No file or folder of code is called utils, helpers or common."""
    if not source.is_python:
        return []
    parts = {part.strip("_") for part in PurePosixPath(source.path).with_suffix("").parts}
    return [source.at(1, f"a module named {name}") for name in sorted(parts & FORBIDDEN_NAMES)]


def money_is_whole(source: Source) -> list[str]:
    """No float literal, no `float(…)` and no true division in a money module (`path / "name"` is no division).

    Time is not money: a literal that is the value of a name in seconds (`…_s`) is let through.
    """
    if not any(fnmatch(source.path, pattern) for pattern in MONEY):
        return []
    found = []
    times = {id(node) for outer in source.nodes for node in _seconds(outer)}
    for node in source.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, float) and id(node) not in times:
            found.append(source.at(node.lineno, f"float {node.value} in a money module"))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float":
            found.append(source.at(node.lineno, "float(…) in a money module"))
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            right = node.right if isinstance(node, ast.BinOp) else node.value
            text = isinstance(right, ast.JoinedStr) or (
                isinstance(right, ast.Constant) and isinstance(right.value, str)
            )
            if not text:
                found.append(source.at(node.lineno, "true division in a money module"))
    return found


def _seconds(node: ast.AST) -> list[ast.expr]:
    """Values that `node` gives to names ending in `_s`: an assignment, a parameter's default, an argument."""
    if isinstance(node, ast.Assign):
        pairs: list[tuple[str, ast.expr | None]] = [
            (ast.unparse(target), node.value) for target in node.targets
        ]
    elif isinstance(node, ast.AnnAssign):
        pairs = [(ast.unparse(node.target), node.value)]
    elif isinstance(node, ast.keyword):
        pairs = [(node.arg or "", node.value)]
    elif isinstance(node, ast.arguments):
        plain = [*node.posonlyargs, *node.args]
        pairs = [
            (arg.arg, value) for arg, value in zip(reversed(plain), reversed(node.defaults), strict=False)
        ]
        pairs += [(arg.arg, value) for arg, value in zip(node.kwonlyargs, node.kw_defaults, strict=True)]
    else:
        return []
    return [value for name, value in pairs if value is not None and name.lower().endswith("_s")]


_UNFINISHED = re.compile(
    "|".join(
        (
            r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b",
            "NotImplemented" + "Error",
            "in a real " + "(?:system|deployment)",
            "in production you " + "would",
            r"\bfor " + "now,",
            "place" + "holder",
            "assert " + r"True\b",
            r"\bpytest\." + r"skip\(",
            r"\.skip" + r"Test\(",
            r"mark\." + "skip",
            r"import" + r"orskip",
        )
    ),
    re.IGNORECASE,
)


def everything_is_finished(source: Source) -> list[str]:
    """No marker of unfinished work, no stub, no skipped test."""
    if not source.path.startswith(("src/", "tests/", "scripts/")):
        return []
    # On a page it is an attribute of an input, and in a style sheet its selector.
    fine = "place" + "holder" if source.path.endswith((".html", ".css")) else ""
    hits = ((n, _UNFINISHED.search(line)) for n, line in enumerate(source.lines, 1))
    return [source.at(n, f"`{hit[0]}`") for n, hit in hits if hit and hit[0] != fine]


_SILENCED = re.compile(
    r"#\s*(?:" + "no" + r"qa|type:\s*ign" + r"ore|pyright:\s*ign" + r"ore)(?P<rest>.*)", re.IGNORECASE
)
_CODES = re.compile(r"^\s*(?::\s*[A-Z]+\d+(?:\s*,\s*[A-Z]+\d+)*|\[[\w, -]+\])")


def silenced_checks_say_why(source: Source) -> list[str]:
    """A silenced check names its code and gives a reason of at least three words on the same line."""
    if not source.is_python:
        return []
    found = []
    for number, line in enumerate(source.lines, 1):
        if (hit := _SILENCED.search(line)) is None:
            continue
        codes = _CODES.match(hit["rest"])
        if codes is None or len(re.findall(r"\w{2,}", hit["rest"][codes.end() :])) < 3:
            found.append(source.at(number, "a silenced check without its code and reason"))
    return found


_HOSTS = re.compile(
    "|".join(
        (
            r"py" + r"pi\.(?:org|io)",
            r"python" + r"hosted",
            r"registry\." + r"npm",
            r"npm" + r"js\.",
            r"crates\." + r"io",
            r"proxy\." + r"golang",
            r"deb\." + r"debian",
            r"repo1?\." + r"maven",
            r"(?<![\w.])/wor" + r"k/",
            r"(?<![\w.])/roo" + r"t/",
        )
    )
)


def no_registry_is_named(source: Source) -> list[str]:
    """No registry host and no path of one machine."""
    hits = ((n, _HOSTS.search(line)) for n, line in enumerate(source.lines, 1))
    return [source.at(n, f"names `{hit[0]}`") for n, hit in hits if hit]


def requirements_are_locked(source: Source) -> list[str]:
    """Every requirement has an exact version and a hash; no URL, no option but the hashes."""
    if not fnmatch(source.path, "requirements/*.txt"):
        return []
    found = [
        source.at(n, "a URL") for n, line in enumerate(source.lines, 1) if "://" in line or " @ " in line
    ]
    logical = re.sub(r"\\\n\s*", " ", source.text).splitlines()
    entries = [line.strip() for line in logical if line.strip() and not line.strip().startswith("#")]
    locked = re.compile(r"[A-Za-z0-9._-]+(?:\[[\w,-]+\])?==\S+ .*--hash=sha256:")
    return found + [source.at(1, f"not locked: {entry[:60]}") for entry in entries if not locked.match(entry)]


RULES: tuple[Rule, ...] = (
    file_is_short,
    functions_are_short,
    functions_are_simple,
    functions_take_few_arguments,
    nothing_is_global,
    own_imports_are_at_the_top,
    environment_is_read_in_one_file,
    broad_excepts_say_why,
    modules_open_with_a_docstring,
    inits_hold_at_most_a_docstring,
    names_say_what_is_inside,
    money_is_whole,
    everything_is_finished,
    silenced_checks_say_why,
    no_registry_is_named,
    requirements_are_locked,
)
