"""report.html and report.md: complete, self-contained, and safe whatever the files are called."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nucleus import __version__
from nucleus.evaluation.image_scores import score_image
from nucleus.evaluation.report import LabelPair, write_report
from nucleus.evaluation.summary import ScoredImage, summarize

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>|`x` [a](http://b) *c*\n# d.png'
VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """What a browser would make of the page: tags with their attributes, and the text outside of style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def folder(case: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with a hostile name, setting and modality."""
    folder = tmp_path_factory.mktemp("report")
    images = [replace(case.images[0], name=HOSTILE, modality=HOSTILE), *case.images[1:]]
    write_report(
        folder,
        images=images,
        summaries=summarize(images),
        ranked=case.ranked,
        score_threshold=0.3,
        pictures=case.pairs.__getitem__,
        settings={"truth": HOSTILE, "command": "nucleus evaluate --truth a --pred b"},
        warnings=[HOSTILE],
        title=HOSTILE,
    )
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    return page


def test_names_stay_names(page: Page) -> None:
    names = {tag for tag, _ in page.tags}
    assert "script" not in names
    assert not [attribute for _, attributes in page.tags for attribute in attributes if attribute.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") >= 5  # shown as text: title, settings, tables, heading ...


def test_nothing_is_asked_of_others(page: Page) -> None:
    for _, attributes in page.tags:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))
    style = (Path(__file__).parents[3] / "nucleus/evaluation/report/templates/report.css").read_text()
    assert "@import" not in style and "url(" not in style


def test_it_says_what_was_scored(page: Page) -> None:
    for words in ("nucleus evaluate --truth a --pred b", f"nucleus {__version__}", "5 images", "Worst: DSB score"):
        assert words in page.text
    assert len([tag for tag, attributes in page.tags if tag == "img"]) == 3 * 5


def test_no_bare_ap_or_dice(page: Page, folder: Path) -> None:
    for text in (page.text, (folder / "report.md").read_text()):
        assert "pixel Dice" in text
        assert not re.search(r"(?<!pixel )\bDice\b", text)
        assert not re.search(r"(?<!COCO )\bm?AP\d*\b", text)


def test_every_picture_and_table_is_described(page: Page) -> None:
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")
    tables = [tag for tag, _ in page.tags if tag == "table"]
    assert len(tables) == len([tag for tag, _ in page.tags if tag == "caption"]) > 8
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in page.tags if tag == "th")
    assert page.tags[0][0] == "html" and page.tags[0][1]["lang"] == "en"


def test_markdown_has_the_same_and_its_pictures(folder: Path) -> None:
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "<script" not in text.replace(r"\<script", "")
    assert r"\<script\>alert(1)" in text and "](http://b)" not in text.replace(r"\](http://b)", "")
    pictures = re.findall(r"(?<!\\)\]\((report_pictures/[^)]*)\)", text)
    assert len(pictures) == 15 and all((folder / picture).stat().st_size for picture in pictures)
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):  # tables: as many cells in every row
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1
    assert text.count("\n# ") == 0  # a line break in a name makes no heading


@pytest.mark.parametrize(
    ("names", "shown"), [(["a/1.png", "a/2.png"], {"1.png", "2.png"}), (["a/1.png", "b/1.png"], {"a/1.png", "b/1.png"})]
)
def test_folders_are_named_where_they_tell_images_apart(
    case: Any, tmp_path: Path, names: list[str], shown: set[str]
) -> None:
    images = [replace(image, name=name) for image, name in zip(case.images, names, strict=False)]
    write_report(tmp_path, images=images, summaries=summarize(images))
    words = set(Page((tmp_path / "report.html").read_text()).words)
    assert words & {"1.png", "2.png", "a/1.png", "a/2.png", "b/1.png"} == shown


def test_pictures_of_an_earlier_report_go(case: Any, tmp_path: Path) -> None:
    (tmp_path / "report_pictures").mkdir()
    (tmp_path / "report_pictures" / "9-errors.jpg").touch()
    (tmp_path / "report_pictures" / "mine.jpg").touch()
    write_report(tmp_path, images=case.images, summaries=case.summaries)
    assert [path.name for path in (tmp_path / "report_pictures").iterdir()] == ["mine.jpg"]
    assert "<img" not in (tmp_path / "report.html").read_text()


def test_the_file_stays_small(case: Any, tmp_path: Path) -> None:
    """Pictures of pure noise, the largest there are: below 5 MB all the same."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (900, 900, 3), dtype=np.uint8)
    labels = np.kron(rng.integers(0, 2000, (90, 90)), np.ones((10, 10), int))
    page = write_report(
        tmp_path,
        images=case.images * 2,
        summaries=case.summaries,
        pictures=lambda position: LabelPair(labels, np.roll(labels, 3, axis=0), image),
    )
    assert page.stat().st_size < 5_000_000


def test_input_that_makes_no_report(case: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        write_report(tmp_path, images=[], summaries={})
    with pytest.raises(ValueError, match="all 5 images, found those of 2"):
        write_report(tmp_path, images=case.images, summaries=case.summaries, ranked=case.ranked[:2])
    assert list(tmp_path.iterdir()) == []


def test_images_without_nuclei(tmp_path: Path) -> None:
    nothing = np.zeros((20, 30), np.int32)
    images = [ScoredImage("empty.png", "unknown", score_image(nothing, nothing))]
    write_report(tmp_path, images=images, summaries=summarize(images), pictures=lambda _: LabelPair(nothing, nothing))
    assert "Of 0 true nuclei in 1 image, 0 were found" in Page((tmp_path / "report.html").read_text()).text
