"""From facts to Markdown. What comes from a user is escaped, so that a file name stays a name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nucleus.evaluation.report.chart import Chart
from nucleus.evaluation.report.facts import Table, number, words
from nucleus.evaluation.report.pictures import Example

SPECIAL = re.compile(r"([\\`*_\[\]<>|~&#!])")


def markdown(facts: Mapping[str, Any]) -> str:
    """The report as Markdown; its pictures lie in the folder `pictures_folder` beside it."""
    blocks = [
        f"# {escaped(facts['title'])}",
        *map(escaped, facts["lead"]),
        *(f"> **Note:** {escaped(warning)}" for warning in facts["warnings"]),
        "## Scores",
        _rows(
            ["score", "", "value", "95 % interval", "beside"],
            [[card.name, card.aggregation, card.text, card.interval_text, card.beside] for card in facts["cards"]],
        ),
        "## What was scored",
        "\n".join(f"- {escaped(name)}: {escaped(value)}" for name, value in facts["settings"])
        + f"\n- version: nucleus {escaped(facts['version'])}",
        "## By kind of image, density and nucleus size",
        *(_table(table) for table in _tables(facts)),
        "## Curves",
        *(block for chart in (*facts["charts"], facts["spread"]) for block in _chart(chart)),
        "## Counts",
        _table(facts["counts"]),
        _table(facts["thresholds"]),
        "## Images",
        _table(facts["worst"]),
        *(block for place, one in enumerate(facts["examples"], 1) for block in _example(one, place, facts)),
        "## Definitions",
        "\n".join(f"- **{escaped(term)}**: {escaped(says)}" for term, says in facts["definitions"].items()),
    ]
    return "\n\n".join(blocks) + "\n"


def escaped(text: str) -> str:
    """Text with a backslash before whatever Markdown would read as markup; a line break becomes a space."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _tables(facts: Mapping[str, Any]) -> Iterable[Table]:
    yield from facts["tables"].values()
    for tables in facts["density_tables"]:
        yield from tables.values()
    if facts["size_table"] is not None:
        yield facts["size_table"]
    yield from facts["coco_tables"]
    yield facts["seed_table"]


def _table(table: Table) -> str:
    rows = [[f"{cell.text} ({cell.below})" if cell.below else cell.text for cell in row] for row in table.rows]
    return f"{escaped(table.caption)}:\n\n{_rows(table.header, rows)}"


def _rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    first = "| " + " | ".join(map(escaped, lines[0])) + " |"
    rest = ["| " + " | ".join(map(escaped, line)) + " |" for line in lines[2:]]
    return "\n".join([first, "| " + " | ".join(lines[1]) + " |", *rest])


def _chart(chart: Chart) -> list[str]:
    return [f"### {escaped(chart.title)}", escaped(chart.note), _rows(chart.header, chart.rows)]


def _example(example: Example, place: int, facts: Mapping[str, Any]) -> list[str]:
    if not example.pictures:
        return []
    counts = ", ".join(f"{count} {name}" for name, count in example.counts.items())
    part = f" Shown: {example.part}." if example.part else ""
    pictures = " ".join(
        f"![{escaped(picture.alt)}]({facts['pictures_folder']}/{place}-{picture.kind}.jpg)"
        for picture in example.pictures
    )
    return [
        f"### {example.rank.capitalize()}: DSB score {number(example.dsb_score)}",
        f"{escaped(example.name)} ({escaped(words(example.modality))}): {counts}.{part}",
        pictures,
    ]
