"""From a template and its values to HTML.

Promises: every value is escaped (autoescape is on for every template, and no template turns it off); a name that a
template asks for and was not given is an error, never an empty string; templates are compiled once.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from penstock.console import formats
from penstock.console.assets import Assets
from penstock.console.security import PREFIX
from penstock.kernel.clock import Clock

TEMPLATES: Final = Path(__file__).parent / "templates"
_FILTERS: Final = (
    formats.money,
    formats.exact_money,
    formats.count,
    formats.short,
    formats.duration,
    formats.span,
    formats.moment,
    formats.clock_time,
    formats.day,
    formats.iso,
    formats.browser,
    formats.percent,
)


class Renderer:
    """Renders the templates of one folder."""

    def __init__(self, assets: Assets, clock: Clock, folder: Path = TEMPLATES) -> None:
        """`assets` gives the addresses of styles and scripts, `clock` the time that "ago" counts from."""
        self._environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )

        def ago(at_s: float) -> str:
            return formats.ago(at_s, clock.wall_s())

        tables = vars(self._environment)  # jinja2 leaves the types of their values open
        tables["filters"] |= {each.__name__: each for each in _FILTERS} | {"ago": ago, "chart": chart_data}
        tables["globals"] |= {
            "asset": assets.url,
            "missing": assets.missing,
            "base": PREFIX,
            "share": formats.share,
            "dash": formats.DASH,
        }

    def html(self, template: str, values: dict[str, object]) -> str:
        """Return the page or fragment."""
        return self._environment.get_template(template).render(values)


def chart_data(value: object) -> str:
    """Return JSON for a `data-` attribute; the template escapes it like any other text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
