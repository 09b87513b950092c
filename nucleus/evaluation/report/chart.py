"""Line charts as inline SVG: no script, no style of their own but each line's colour, readable in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from nucleus.visualization.colors import Rgb, hex_color

WIDTH, HEIGHT = 460.0, 330.0  # drawing units; the style sheet gives letters their size in these units
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 10.0, 46.0
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2")  # lines differ by more than their colour

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A line of a chart.

    Attributes:
        name: for the legend.
        points: (x, y) in the chart's ranges, ascending in x or in drawing order.
        color: RGB; None for the colour of the text.
        dash: SVG's stroke-dasharray; empty for a full line.
        band: (x, low, high) of an interval around the line.
        marked: points of the line to mark, each with what it says.
        every_point: whether each point gets a small mark that says its value.
    """

    name: str
    points: Sequence[Point]
    color: Rgb | None = None
    dash: str = ""
    band: Sequence[tuple[float, float, float]] = ()
    marked: Sequence[tuple[Point, str]] = ()
    every_point: bool = False


@dataclass(frozen=True)
class Chart:
    """What a chart shows, for the eye and in words.

    Attributes:
        name: identifies it in the page: letters and hyphens.
        title: a heading.
        note: what is drawn, in a sentence or two.
        description: for those who do not see it.
        x_label: with unit.
        y_label: with unit.
        x_range: from left to right.
        series: the lines, drawn in order.
        x_ticks: places of numbers below.
        isolines: (label, points) of faint lines in the background.
        header: column titles of the same in numbers.
        rows: the same in numbers; the first cell names its row.
    """

    name: str
    title: str
    note: str
    description: str
    x_label: str
    y_label: str
    x_range: tuple[float, float]
    series: Sequence[Series]
    x_ticks: Sequence[float]
    isolines: Sequence[tuple[str, Sequence[Point]]] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()

    def svg(self) -> Markup:
        """Draw it; the y axis goes from 0 to 1."""
        parts = [
            Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-labelledby="{}-about">').format(
                f"{WIDTH:g}", f"{HEIGHT:g}", self.name
            ),
            Markup('<desc id="{}-about">{}</desc>').format(self.name, self.description),
            self._axes(),
        ]
        for label, points in self.isolines:
            parts.append(Markup('<path class="isoline" d="{}"/>').format(self._path(points)))
            parts.append(self._text(*self._place(points[-1]), label, "isoline-label", "end", dy=-4))
        parts.extend(self._line(one) for one in self.series)
        return Markup("\n").join([*parts, Markup("</svg>")])

    def _place(self, point: Point) -> Point:
        low, high = self.x_range
        x = LEFT + (point[0] - low) / (high - low) * (WIDTH - LEFT - RIGHT)
        return x, HEIGHT - BOTTOM - point[1] * (HEIGHT - TOP - BOTTOM)

    def _path(self, points: Sequence[Point]) -> str:
        return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in map(self._place, points)) if points else ""

    def _axes(self) -> Markup:
        parts = []
        low, high = self.x_range
        for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
            parts.append(Markup('<path class="grid" d="{}"/>').format(self._path([(low, tick), (high, tick)])))
            parts.append(self._text(LEFT - 8, self._place((low, tick))[1] + 4, f"{tick:g}", "tick", "end"))
        for tick in self.x_ticks:
            x, y = self._place((tick, 0.0))
            parts.append(self._text(x, y + 16, f"{tick:g}", "tick", "middle"))
        parts.append(Markup('<path class="axis" d="{}"/>').format(self._path([(low, 0.0), (high, 0.0)])))
        middle_x, middle_y = self._place(((low + high) / 2, 0.5))
        parts.append(self._text(middle_x, HEIGHT - 6, self.x_label, "axis-label", "middle"))
        turned = Markup(
            '<text class="axis-label" text-anchor="middle" transform="translate(13 {}) rotate(-90)">{}</text>'
        )
        parts.append(turned.format(f"{middle_y:g}", self.y_label))
        return Markup("\n").join(parts)

    def _line(self, series: Series) -> Markup:
        parts = [Markup('<g class="series"{}>').format(color_style(series.color))]
        if series.band:
            edge = [(x, low) for x, low, _ in series.band] + [(x, high) for x, _, high in reversed(series.band)]
            parts.append(Markup('<path class="band" d="{}Z"/>').format(self._path(edge)))
        if len(series.points) > 1:
            parts.append(
                Markup('<path class="line" stroke-dasharray="{}" d="{}"/>').format(
                    series.dash or "none", self._path(series.points)
                )
            )
        if series.every_point:
            for point in series.points:
                says = f"{series.name}: {point[1]:.3f} at {point[0]:g}"
                parts.append(self._mark(point, says, "point", 2.6))
        parts.extend(self._mark(point, says, "mark", 5.0) for point, says in series.marked)
        return Markup("").join([*parts, Markup("</g>")])

    def _mark(self, point: Point, says: str, kind: str, radius: float) -> Markup:
        x, y = self._place(point)
        return Markup('<circle class="{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(
            kind, f"{x:.1f}", f"{y:.1f}", f"{radius:g}", says
        )

    @staticmethod
    def _text(x: float, y: float, words: str, kind: str, anchor: str, dy: float = 0.0) -> Markup:
        return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
            kind, f"{x:.1f}", f"{y + dy:.1f}", anchor, words
        )


def color_style(color: Rgb | None) -> Markup:
    """The attribute that gives an element a line's colour; nothing for the colour of the text."""
    return Markup("") if color is None else Markup(' style="--series: {}"').format(hex_color(color))
