"""The page in a real browser: no message, no request, no sideways scroll, in light and dark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nucleus.evaluation.bootstrap import intervals
from nucleus.evaluation.report import write_report
from nucleus.evaluation.strata import summarize_densities
from nucleus.evaluation.summary import summarize


@pytest.fixture(scope="module", params=["everything", "labels alone"])
def page_file(request: pytest.FixtureRequest, case: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    if request.param == "labels alone":
        return write_report(folder, images=case.images[:1], summaries=summarize(case.images[:1]))
    images = [replace(case.images[0], name="a" * 200 + "<b>.png", modality="W" * 60), *case.images[1:]]
    return write_report(
        folder,
        images=images,
        summaries=summarize(images, {"overall": {"COCO AP (masks)": 0.5, "COCO AP (boxes)": 0.5}}),
        intervals=intervals(images, resamples=100),
        density=summarize_densities(images),
        ranked=case.ranked,
        score_threshold=0.3,
        pictures=case.pairs.__getitem__,
        settings={"truth": "/" + "x" * 300},
        warnings=["y" * 300],
        title="T" * 80,
    )


@pytest.mark.parametrize("width", [1280, 768, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_cleanly(browser: Any, page_file: Path, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    messages: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(page_file.as_uri(), wait_until="networkidle")
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [page_file.as_uri()]
    assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 384) == (scheme == "dark")
    context.close()


def test_a_picture_grows_without_a_script(browser: Any, page_file: Path) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900}, java_script_enabled=True)
    page.goto(page_file.as_uri())
    pictures = page.locator(".pictures:not(.tall) img")
    if pictures.count():
        before = pictures.nth(1).bounding_box()["width"]
        pictures.nth(1).click()
        assert pictures.nth(1).bounding_box()["width"] > 2 * before
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 1280
    page.close()


def test_it_prints(browser: Any, page_file: Path) -> None:
    """At the width of an A4 page nothing is cut off."""
    page = browser.new_page(viewport={"width": 720, "height": 1000})
    page.goto(page_file.as_uri())
    page.emulate_media(media="print")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 720
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()
