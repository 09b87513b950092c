"""A chart as SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from nucleus.evaluation.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, Series, color_style

HOSTILE = '</text><script>alert("1")</script>'


def chart(*series: Series, **fields: str) -> Chart:
    words = {"title": "T", "note": "N", "description": "D", "x_label": "x", "y_label": "y"} | fields
    return Chart("c", x_range=(0.0, 2.0), x_ticks=(0, 1, 2), series=series, **words)  # type: ignore[arg-type]


def test_points_are_where_they_belong() -> None:
    root = ElementTree.fromstring(chart(Series("s", [(0, 0), (2, 1)], (255, 0, 0))).svg())
    (line,) = (path for path in root.iter("path") if path.get("class") == "line")
    assert line.get("d") == f"M{LEFT:.1f} {HEIGHT - BOTTOM:.1f}L{WIDTH - RIGHT:.1f} {TOP:.1f}"


def test_marks_say_what_they_are() -> None:
    root = ElementTree.fromstring(chart(Series("s", [(1, 0.25)], every_point=True)).svg())
    assert [title.text for title in root.iter("title")] == ["s: 0.250 at 1"]


def test_words_cannot_become_markup() -> None:
    series = Series(HOSTILE, [(0, 0), (1, 1)], marked=[((1, 1), HOSTILE)], every_point=True)
    svg = chart(series, description=HOSTILE, x_label=HOSTILE, y_label=HOSTILE).svg()
    assert "<script" not in svg
    assert any(element.text == HOSTILE for element in ElementTree.fromstring(svg).iter("title"))


def test_it_has_a_description() -> None:
    root = ElementTree.fromstring(chart(description="It falls.").svg())
    described = root.get("aria-labelledby")
    assert root.get("role") == "img" and any(one.get("id") == described and one.text == "It falls." for one in root)


def test_colour_as_a_style() -> None:
    assert color_style((255, 0, 128)) == ' style="--series: #ff0080"' and color_style(None) == ""
