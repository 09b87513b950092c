"""The page in a real browser: uploads, slider, table, downloads; no message, no other request, no sideways scroll."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from scipy.ndimage import distance_transform_edt


class Tab:
    """A page at a width, and all that it said and asked for."""

    def __init__(self, browser: Any, server: Any, width: int = 1280, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 820}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.width = width
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(f"{request.method} {request.url}"))
        self.page.goto(server.address, wait_until="networkidle")
        self.address = server.address

    def upload(self, name: str, content: bytes) -> None:
        self.page.set_input_files("#file", {"name": name, "mimeType": "", "buffer": content})

    def opened(self, name: str) -> None:
        self.page.wait_for_function("name => document.getElementById('name').textContent === name", arg=name)

    @property
    def count(self) -> int:
        return int(self.page.text_content("#count"))

    def threshold(self, value: str) -> None:
        self.page.evaluate(
            "value => { const one = document.getElementById('threshold'); one.value = value;"
            " one.dispatchEvent(new Event('input')); }",
            value,
        )

    def close_cleanly(self) -> None:
        assert self.page.evaluate("document.scrollingElement.scrollWidth") <= self.width
        assert self.messages == []
        asked = {request.split(" ", 1)[1] for request in self.requests}
        assert all(address.startswith((f"{self.address}/", f"blob:{self.address}/")) for address in asked)
        self.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_from_example_to_table(browser, server, width, scheme):
    tab = Tab(browser, server, width, scheme)
    page = tab.page
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert page.evaluate(
        "[...document.images].filter(one => one.src).every(one => one.complete && one.naturalWidth > 0)"
    )
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 384) == (scheme == "dark")
    page.click("#example-list li:first-child button")
    tab.opened("Fluorescence.png")
    assert tab.count > 2 and page.is_visible("#outlines") and page.is_hidden("#start")
    page.focus("#table")
    page.keyboard.press("ArrowDown")
    assert page.text_content("tr[aria-selected] td") == "1"
    page.keyboard.press("End")
    assert page.text_content("tr[aria-selected] td") == str(tab.count)
    page.keyboard.press("Enter")  # zooms to it: it is in the middle of the stage then, unless it is at the edge
    assert f"No. {tab.count} " in page.text_content("#bubble")
    page.click("th:nth-child(3) button")
    areas = page.locator("tr[data-index] td:nth-child(3)").all_text_contents()
    values = [float(one.replace(",", "")) for one in areas]
    assert values == sorted(values, reverse=True)
    page.focus("#stage")
    page.keyboard.press("0")
    page.keyboard.press("+")
    page.keyboard.press("n")
    tab.close_cleanly()


def test_a_png_and_its_downloads(browser, server, png, tmp_path):
    tab = Tab(browser, server)
    page = tab.page
    tab.upload("<img src=x onerror=alert(1)>.png", png)
    tab.opened("<img src=x onerror=alert(1)>.png")
    before = len(tab.requests)
    counts = []
    for value in ("0.05", "0.5", "0.8", "0.99"):
        tab.threshold(value)
        counts.append(tab.count)
    assert len(tab.requests) == before  # nobody was asked
    assert counts[0] > counts[1] > counts[2] >= counts[3] and counts[1] > 2
    tab.threshold("0.5")
    assert page.get_attribute("#table table", "aria-rowcount") == str(counts[1] + 1)
    with page.expect_download() as download:
        page.click("button[data-format=labels]")
    path = tmp_path / "labels.tif"
    download.value.save_as(path)
    assert tifffile.imread(path).max() == counts[1]
    assert Path(download.value.suggested_filename).name == download.value.suggested_filename
    assert download.value.suggested_filename.endswith("_labels.tif")
    tab.close_cleanly()


def test_a_click_on_a_nucleus_finds_its_row(browser, server, model, image, png):
    tab = Tab(browser, server)
    page = tab.page
    tab.upload("a.png", png)
    tab.opened("a.png")
    depth = distance_transform_edt(model.predict(image).label_image == 2)
    y, x = np.unravel_index(depth.argmax(), depth.shape)
    stage = page.locator("#stage").bounding_box()
    scale = min(stage["width"] / 128, stage["height"] / 96)
    left, top = stage["x"] + (stage["width"] - 128 * scale) / 2, stage["y"] + (stage["height"] - 96 * scale) / 2
    page.mouse.click(left + (x + 0.5) * scale, top + (y + 0.5) * scale)
    page.set_default_timeout(3000)
    assert page.text_content("tr[aria-selected] td") == "2"
    page.mouse.wheel(0, -400)
    page.keyboard.press("Escape")
    assert page.locator("tr[aria-selected]").count() == 0
    tab.close_cleanly()


def test_sixteen_bits_and_channels(browser, server, image):
    tab = Tab(browser, server, 390)
    page = tab.page
    pixels = image[..., 0].astype(np.uint16) * 16 + 100
    file = io.BytesIO()
    tifffile.imwrite(file, pixels)
    tab.upload("deep.tif", file.getvalue())
    tab.opened("deep.tif")
    assert "16 bit" in page.text_content("#facts") and tab.count > 2
    file = io.BytesIO()
    names = {"axes": "CYX", "Channel": {"Name": ["actin", "DAPI"]}}
    tifffile.imwrite(file, np.stack([pixels, pixels[::-1]]), ome=True, photometric="minisblack", metadata=names)
    tab.upload("two.ome.tif", file.getvalue())
    page.wait_for_selector("#ask[open]")
    assert page.input_value("#ask select[name=channels]") == "1"  # DAPI stains nuclei
    page.click("#ask button[type=submit]")
    tab.opened("two.ome.tif")
    with page.expect_response("**/picture"):
        page.select_option("#choice select[name=channels]", "0")
    tab.close_cleanly()


def test_a_broken_file_and_the_next_one(browser, server, png):
    tab = Tab(browser, server)
    page = tab.page
    tab.upload("broken.png", png[:100])
    page.wait_for_selector("#message:not([hidden])")
    assert page.text_content("#message-text").startswith("This file could not be read as an image")
    assert page.is_visible("#start")
    tab.upload("whole.png", png)
    tab.opened("whole.png")
    assert page.is_hidden("#message")
    tab.close_cleanly()
