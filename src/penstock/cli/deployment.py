"""Which deployment a command is about: the settings file, the environment, and what they say together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from penstock.cli.output import Output
from penstock.kernel.settings import Settings
from penstock.wiring.settings import environment, load

USUAL_FILE: Final = Path("penstock.toml")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Deployment(Output):
    """A deployment by its settings."""

    config: Annotated[
        Path | None,
        Parameter(
            help="Settings file (TOML). Without it: PENSTOCK_CONFIG, else penstock.toml in this folder, else defaults."
        ),
    ] = None

    def environment(self) -> dict[str, str]:
        """Return a snapshot of the environment."""
        return environment()

    def file(self) -> Path | None:
        """Return the settings file in use, or None when there is none."""
        if self.config is not None:
            return self.config
        named = self.environment().get("PENSTOCK_CONFIG", "")
        if named:
            return Path(named)
        return USUAL_FILE if USUAL_FILE.is_file() else None

    def settings(self) -> Settings:
        """Read the settings. Raises Invalid that lists every mistake."""
        return load(self.file(), self.environment())


DEFAULTS: Final = Deployment()
