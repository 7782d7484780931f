"""`python -m tests.evidence S1 [--quick]` runs a line of evidence; `--docs` writes the pages made of all records.

Exit status: 0 when the promise was met (or the pages were written), 1 when it was not, 2 for an id that is not known.
"""

from __future__ import annotations

import argparse
import sys

from tests.evidence import registry, report


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments ask for; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.evidence", description=__doc__)
    parser.add_argument("id", nargs="?", help="the line to run, such as S1; none lists them")
    parser.add_argument("--quick", action="store_true", help="a shorter run that writes nothing")
    parser.add_argument(
        "--docs",
        action="store_true",
        help="write the pages made of records (docs/reliability.md, docs/gateway.md and the others), and charts",
    )
    asked = parser.parse_args(arguments)
    if asked.docs:
        for file in report.write_pages(registry.read_all()):
            print(file.relative_to(registry.ROOT))
        return 0
    if asked.id is None:
        for known in registry.known_ids():
            print(known, registry.find(known).title)
        return 0
    return produce(asked.id.upper(), quick=asked.quick)


def produce(identifier: str, *, quick: bool) -> int:
    """Run one line, show its record and, unless quick, write it and the pages."""
    try:
        line = registry.find(identifier)
    except registry.UnknownEvidence as error:
        print(error, file=sys.stderr)
        return 2
    record = registry.run(line, quick=quick)
    print(registry.encode(record), end="")
    if not quick:
        registry.write(record)
        report.write_pages(registry.read_all())
    print(f"{record.id} {report.MARKS[record.verdict]}: {record.reason}", file=sys.stderr)
    return 0 if record.verdict == "met" else 1


if __name__ == "__main__":
    sys.exit(main())
