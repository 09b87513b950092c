"""From facts to the page: a template in which everything that is printed is escaped unless it is markup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nucleus.evaluation.report.chart import color_style


def page(facts: Mapping[str, Any]) -> str:
    """The report as HTML with everything it needs inside."""
    environment = Environment(
        loader=PackageLoader("nucleus.evaluation.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["color_style"] = color_style
    return environment.get_template("report.html").render(facts)
