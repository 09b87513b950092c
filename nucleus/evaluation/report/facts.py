"""What a report says: words, numbers and tables, before any layout. The page and the text are both made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nucleus.evaluation.image_scores import SEED_PROTOCOL_SCORES
from nucleus.evaluation.matching import IOU_THRESHOLDS
from nucleus.evaluation.summary import OVERALL, ScoredImage, Summary
from nucleus.evaluation.table import AGGREGATIONS, signed_pixels

Interval = tuple[float, float]
Intervals = Mapping[str, Mapping[str, Mapping[str, Interval]]]  # group -> image_mean or pooled -> score -> (low, high)

HEADLINES = ("object F1@0.50", "object F1@0.70", "AJI", "PQ", "pixel Dice")  # beside the DSB score
COLUMNS = ("DSB score", "object F1@0.50", "object F1@0.70", "object F1@0.90", "AJI", "PQ", "pixel Dice")
WORST_LISTED = 15  # images by name; images.csv has all


@dataclass(frozen=True)
class Card:
    """A headline score.

    Attributes:
        name: of the score.
        aggregation: "image mean" or "pooled".
        value: in [0, 1].
        interval: around it; None where none was computed.
        beside: the other aggregation, in words; may be empty.
    """

    name: str
    aggregation: str
    value: float
    interval: Interval | None
    beside: str = ""

    @property
    def text(self) -> str:
        """The value as it is printed."""
        return number(self.value)

    @property
    def interval_text(self) -> str:
        """The interval as it is printed; empty without one."""
        return "" if self.interval is None else span(self.interval)


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what it says.
        below: a second, smaller line: the interval.
        bar: parts of a bar, (kind, share of the bar's length in [0, 1]); kinds are matched, missed and false.
    """

    text: str
    below: str = ""
    bar: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: what it shows.
        header: column titles.
        rows: as many cells as columns; the first one names its row.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def number(value: float) -> str:
    """A score to three decimals; a dash where it is undefined."""
    return "\N{EN DASH}" if math.isnan(value) else f"{value:.3f}"


def span(interval: Interval) -> str:
    """An interval to three decimals."""
    return f"{number(interval[0])}\N{EN DASH}{number(interval[1])}"


def words(name: str) -> str:
    """The name of a group as people read it: "small_fluorescent" without its underscore."""
    return name.replace("_", " ")


def headline_cards(summaries: Mapping[str, Summary], intervals: Intervals | None) -> list[Card]:
    """The DSB score, then the others: image means where there is one, with the pooled value beside."""
    overall = summaries[OVERALL]
    known = (intervals or {}).get(OVERALL, {})
    coco = "COCO AP (masks)"
    names = ("DSB score", *HEADLINES) if coco in overall.pooled else ("DSB score", *HEADLINES, "object F1@0.90")
    cards = [
        Card(
            name,
            "image mean",
            overall.image_mean[name],
            known.get("image_mean", {}).get(name),
            f"pooled {number(overall.pooled[name])}",
        )
        for name in names
    ]
    if coco in overall.pooled:
        beside = f"boxes {number(overall.pooled['COCO AP (boxes)'])}" if "COCO AP (boxes)" in overall.pooled else ""
        cards.append(Card(coco, "pooled", overall.pooled[coco], known.get("pooled", {}).get(coco), beside))
    return cards


def lead_sentences(images: Sequence[ScoredImage], summaries: Mapping[str, Summary]) -> list[str]:
    """What one wants to know first, in two or three sentences."""
    overall = summaries[OVERALL]
    true, found = overall.counts["true nuclei"], overall.counts["true positives@0.50"]
    share = f" ({found / true:.0%})" if true else ""
    sentences = [
        f"Of {_many(true, 'true nucleus', 'true nuclei')} in {_many(len(images), 'image', 'images')}, "
        f"{found:,}{share} were found at an IoU above 0.5 and {overall.counts['false negatives@0.50']:,} missed; "
        f"{overall.counts['false positives@0.50']:,} of {overall.counts['predicted nuclei']:,} predicted nuclei are "
        f"false. {_many(overall.counts['splits'], 'nucleus is', 'nuclei are')} split, "
        f"{_many(overall.counts['merges'], 'prediction merges', 'predictions merge')} several."
    ]
    groups = {name: summary for name, summary in summaries.items() if name != OVERALL}
    if len(groups) > 1:
        ranked = sorted(groups, key=lambda name: groups[name].image_mean["DSB score"])
        worst, best = (
            f"{words(name)} (DSB score {number(groups[name].image_mean['DSB score'])}, "
            f"{_many(groups[name].images, 'image', 'images')})"
            for name in (ranked[0], ranked[-1])
        )
        sentences.append(f"Weakest on {worst}, strongest on {best}.")
    return sentences


def without_repetition(summaries: Mapping[str, Summary]) -> dict[str, Summary]:
    """The groups that say something: one kind of image alone says what all images say."""
    return dict(summaries) if len(summaries) != 2 else {OVERALL: summaries[OVERALL]}


def score_tables(
    title: str, first: str, summaries: Mapping[str, Summary], intervals: Intervals | None
) -> dict[str, Table]:
    """Scores of groups of images, a row a group, by aggregation.

    Args:
        title: begins the caption.
        first: heading of the column of groups.
        summaries: by group.
        intervals: printed below the scores.
    """
    tables = {}
    for aggregation, attribute in AGGREGATIONS.items():
        rows = []
        for group, summary in summaries.items():
            known = (intervals or {}).get(group, {}).get(attribute, {})
            scores = getattr(summary, attribute)
            rows.append([
                Cell(words(group)),
                Cell(f"{summary.images:,}"),
                Cell(f"{summary.counts['true nuclei']:,}"),
                *(
                    Cell(number(scores.get(name, math.nan)), span(known[name]) if name in known else "")
                    for name in COLUMNS
                ),
            ])  # fmt: skip
        tables[aggregation] = Table(f"{title}, {aggregation}", [first, "images", "true nuclei", *COLUMNS], rows)
    return tables


def coco_tables(summaries: Mapping[str, Summary]) -> list[Table]:
    """COCO AP and AR by kind of image, of masks and of boxes, as far as they were computed."""
    tables = []
    for subject in ("masks", "boxes"):
        names = [
            name for name in summaries[OVERALL].pooled if name.startswith("COCO") and name.endswith(f"({subject})")
        ]
        rows = [
            [Cell(words(group)), *(Cell(number(summary.pooled.get(name, math.nan))) for name in names)]
            for group, summary in summaries.items()
        ]
        if names:
            header = ["kind of image", *(name.removesuffix(f" ({subject})") for name in names)]
            tables.append(Table(f"COCO AP and AR of {subject}, all detections", header, rows))
    return tables


def size_table(summary: Summary) -> Table | None:
    """Scores by the area of the nuclei; None where they were not computed."""
    if not summary.sizes:
        return None
    columns = ("DSB score", "object F1@0.50", "object F1@0.70", "object F1@0.90", "recall@0.50", "recall@0.70")
    rows = [
        [
            Cell(size, bar=_bar(scores)),
            Cell(f"{scores['true nuclei']:,.0f}"),
            *(Cell(f"{scores[f'{kind}@0.50']:,.0f}") for kind in _OUTCOMES),
            *(Cell(number(scores[name])) for name in columns),
        ]
        for size, scores in summary.sizes.items()
    ]
    header = ["area in pixels", "true nuclei", "found", "missed", "false", *columns]
    return Table("Scores by nucleus size, pooled; found, missed and false at IoU > 0.5", header, rows)


def count_table(summaries: Mapping[str, Summary]) -> Table:
    """Found, missed, false, split and merged nuclei by kind of image, at IoU > 0.5."""
    rows = [
        [
            Cell(words(group), bar=_bar(summary.counts)),
            *(Cell(f"{summary.counts[name]:,}") for name in ("true nuclei", "predicted nuclei")),
            *(Cell(f"{summary.counts[f'{kind}@0.50']:,}") for kind in _OUTCOMES),
            *(Cell(f"{summary.counts[name]:,}") for name in ("splits", "merges")),
            Cell(signed_pixels(summary.outline_offset)),
        ]
        for group, summary in summaries.items()
    ]
    header = ["kind", "true nuclei", "predicted", "found", "missed", "false", "splits", "merges", "outline offset"]
    return Table("Nuclei found, missed and false at IoU > 0.5; splits and merges; outlines", header, rows)


def threshold_table(summary: Summary) -> Table:
    """Found, missed and false nuclei of all images at several IoU thresholds."""
    rows = [
        [Cell(f"IoU > {at:.2f}"), *(Cell(f"{summary.counts[f'{kind}@{at:.2f}']:,}") for kind in _OUTCOMES)]
        for at in IOU_THRESHOLDS
    ]
    return Table("All images, by the IoU that a match must exceed", ["match", "found", "missed", "false"], rows)


def seed_protocol_table(summaries: Mapping[str, Summary]) -> Table:
    """Scores of connected components, by kind of image, image means."""
    rows = [
        [Cell(words(group)), *(Cell(number(summary.image_mean[name])) for name in SEED_PROTOCOL_SCORES)]
        for group, summary in summaries.items()
    ]
    return Table("Seed protocol, image mean", ["kind of image", *SEED_PROTOCOL_SCORES], rows)


def worst_table(images: Sequence[ScoredImage]) -> Table:
    """The images with the lowest DSB scores, by name."""
    ranked = sorted(images, key=lambda image: image.scores.objects.dsb_score)[:WORST_LISTED]
    rows = [
        [
            Cell(image.name),
            Cell(words(image.modality)),
            Cell(number(image.scores.objects.dsb_score)),
            *(
                Cell(f"{count:,}")
                for count in (
                    image.scores.objects.truths,
                    image.scores.objects.true_positives[0],
                    image.scores.objects.false_negatives[0],
                    image.scores.objects.false_positives[0],
                    image.scores.splits_merges.splits,
                    image.scores.splits_merges.merges,
                )
            ),
        ]
        for image in ranked
    ]
    header = ["image", "kind", "DSB score", "true nuclei", "found", "missed", "false", "splits", "merges"]
    caption = f"The {len(rows)} images with the lowest DSB score" if len(rows) > 1 else "The image that was scored"
    return Table(caption, header, rows)


def setting_rows(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Settings as text."""
    return [(words(str(name)), _as_text(value)) for name, value in settings.items()]


def _as_text(value: Any) -> str:
    """Items with commas between them, those of a mapping with their names."""
    if isinstance(value, Mapping):
        return ", ".join(f"{words(str(name))}: {_as_text(inner)}" for name, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_as_text, value))
    return "none" if value is None else str(value)


_OUTCOMES = ("true positives", "false negatives", "false positives")


def _bar(counts: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """Found, missed and false nuclei as shares of their sum."""
    values = [counts[f"{kind}@0.50"] for kind in _OUTCOMES]
    total = sum(values)
    kinds = ("matched", "missed", "false")
    return tuple((kind, value / total) for kind, value in zip(kinds, values, strict=True)) if total else ()


def _many(count: int, one: str, several: str) -> str:
    return f"{count:,} {one if count == 1 else several}"
