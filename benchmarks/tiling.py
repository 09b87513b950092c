#!/usr/bin/env python
"""What tiling changes: real images whole and in tiles, and a synthetic slide with exact truth through the real command.

    DETECTRON2_DATASETS=datasets python benchmarks/tiling.py --weights output/quick/model_final.pth --json FILE
    DETECTRON2_DATASETS=datasets python benchmarks/tiling.py --weights W --images 0 --slide 16384 --tissue 0.2

Images of bbbc038_test larger than --tile are predicted in one piece and in tiles, with the margin of a slide where
the tile is 512 pixels or more. Object F1@0.9 between the two says how far they agree. A nucleus counts as cut where a
straight edge of it lies on a border of a tile (of a write or a read region), over at least 6 pixels and 0.6 of its
extent along the border, and on real images the whole prediction has no such nucleus at IoU 0.9. Round nuclei hardly
ever have a straight edge: how many of the whole prediction have one at the same places is printed beside.

The slide is glass with tissue: fields of nucleus.data.synthetic, a thousand pixels a side, turned and mirrored. It is
written tile by tile, with its truth beside it, and predicted by `nucleus predict` in a process of its own; then once
more, killed halfway and started again, which must give the same files byte for byte. A nucleus of the truth is found at
IoU > 0.5, and double if two predictions have more than half of themselves in it. Those within 8 pixels of a seam are
compared with all others; nuclei that a field's edge cuts are left out.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from measure import write_rows

from nucleus.formats.image_source import open_image
from nucleus.formats.tiff import open_tiff
from nucleus.inference.segment import plan, segment
from nucleus.inference.tiling import TileGrid
from nucleus.masks.nuclei import boxes_of_labels

CELL = 1000  # pixels a side of a field of the slide; no multiple of a tile's step
FIELDS = ("purple_tissue", "purple_tissue", "pink_purple_tissue", "purple_tissue", "pink_purple_tissue")
GLASS = 236
STORED_TILE = 512
NEAR = 8  # pixels from a seam
STRAIGHT, SHARE = 6, 0.6  # pixels, and of the extent: of an edge that is a cut


@dataclass(frozen=True)
class Whole:
    """What `plan` has to know of a model that enlarges nothing."""

    def scale_of(self, height: int, width: int) -> float:
        """Slides are large enough."""
        return 1.0


def overlaps(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of both and shared pixels of every pair that shares one, background included; also of images on disk."""
    keys: dict[int, int] = {}
    for top in range(0, first.shape[0], STORED_TILE):
        band = slice(top, top + STORED_TILE)
        key = np.asarray(first[band]).astype(np.int64) << 32 | np.asarray(second[band]).astype(np.int64)
        for one, count in zip(*(part.tolist() for part in np.unique(key, return_counts=True)), strict=True):
            keys[one] = keys.get(one, 0) + count
    pairs = np.array(list(keys), dtype=np.int64)
    return pairs >> 32, pairs & 0xFFFFFFFF, np.array(list(keys.values()), dtype=np.int64)


def compare(first: np.ndarray, second: np.ndarray, iou: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each label of the first image: its number, whether one of the second has more than that IoU with it, and how
    many of the second have more than half of themselves in it."""
    a, b, shared = overlaps(first, second)
    labels = np.unique(a[a > 0])
    area_a, area_b = np.bincount(a, shared), np.bincount(b, shared)
    inside = (a > 0) & (b > 0)
    a, b, shared = a[inside], b[inside], shared[inside]
    found, parts = np.zeros(len(area_a), dtype=bool), np.zeros(len(area_a), dtype=int)
    np.logical_or.at(found, a, shared > iou * (area_a[a] + area_b[b] - shared))
    np.add.at(parts, a, shared > 0.5 * area_b[b])
    return labels, found[labels], parts[labels]


def borders(grid: TileGrid, *, read: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns at which a write region (or also a read region) ends inside the image."""
    regions = [one for tile in grid for one in ((tile.write, tile.read) if read else (tile.write,))]
    rows = {side for one in regions for side in (one.top, one.bottom)} - {0, grid.height}
    columns = {side for one in regions for side in (one.left, one.right)} - {0, grid.width}
    return np.array(sorted(rows), dtype=int), np.array(sorted(columns), dtype=int)


def cut_nuclei(labels: np.ndarray, grid: TileGrid) -> set[int]:
    """Labels of nuclei with a straight edge on a border of a tile; also of an image on disk."""
    ids, boxes = boxes_of_labels(labels)
    extents = dict(zip(ids.tolist(), (boxes[:, 2:] - boxes[:, :2]).tolist(), strict=True))  # width, height
    cut: set[int] = set()
    for axis, places in enumerate(borders(grid, read=True)):
        for place in places.tolist():
            strip = labels[place - 1 : place + 1] if axis == 0 else labels[:, place - 1 : place + 1]
            pair = np.asarray(strip) if axis == 0 else np.asarray(strip).T
            for side in pair:
                found, counts = np.unique(side[(pair[0] != pair[1]) & (side > 0)], return_counts=True)
                for label, count in zip(found.tolist(), counts.tolist(), strict=True):
                    if count >= max(STRAIGHT, SHARE * extents[label][axis]):
                        cut.add(label)
    return cut


def real_images(weights: Path, tile: int, most: int, precision: str | None) -> list[dict[str, Any]]:
    """Whole and tiled predictions of the real test images compared, those that the network sees enlarged apart."""
    from detectron2.data import DatasetCatalog

    import nucleus
    from nucleus.data.catalog import register_all

    register_all()
    model = nucleus.load_model(weights=weights, device="cpu", precision=precision)
    records = [one for one in DatasetCatalog.get("bbbc038_test") if max(one["height"], one["width"]) > tile]
    rows: dict[str, list[tuple[int, ...]]] = {"at their own size": [], "enlarged": []}
    for record in records[:: -(-len(records) // most)]:
        with open_image(record["file_name"]) as source:
            grid = plan(source, model, tile)
            whole = segment(source, model, plan(source, model, max(source.shape)))
            tiled = segment(source, model, grid)
            enlarged = model.scale_of(*source.shape[:2]) > 1
        _, matched, _ = compare(whole.labels, tiled.labels, 0.9)
        labels, as_in_whole, _ = compare(tiled.labels, whole.labels, 0.9)
        cut = cut_nuclei(tiled.labels, grid) - set(labels[as_in_whole].tolist())
        row = (len(whole.scores), len(tiled.scores), int(matched.sum()), len(cut),
               len(cut_nuclei(whole.labels, grid)), len(grid), tiled.cut)  # fmt: skip
        rows["enlarged" if enlarged else "at their own size"].append(row)
        print(Path(record["file_name"]).stem[:12], source.shape[:2], "whole, tiled, matched, cut, straight, tiles:",
              *row[:6], flush=True)  # fmt: skip
    case = f"real images {{}}, tiles of {tile}, {precision or 'precision as configured'}"
    return [agreement(case.format(name), np.array(some, dtype=float)) for name, some in rows.items() if some]


def agreement(case: str, table: np.ndarray) -> dict[str, Any]:
    """Sum up the columns of `real_images`."""
    wholes, tileds, matched = table[:, 0], table[:, 1], table[:, 2]
    both = wholes + tileds
    f1 = np.where(both > 0, 2 * matched / np.maximum(both, 1), 1.0)
    return {
        "case": case, "images": len(table), "tiles": int(table[:, 5].sum()),
        "nuclei whole": int(wholes.sum()), "nuclei tiled": int(tileds.sum()),
        "F1@0.9 pooled": round(2 * float(matched.sum()) / float(both.sum()), 4),
        "F1@0.9 image mean": round(f1.mean(), 4), "F1@0.9 lowest": round(f1.min(), 4),
        "cut": int(table[:, 3].sum()), "straight in whole": int(table[:, 4].sum()),
        "larger than the margin": int(table[:, 6].sum()),
    }  # fmt: skip


class Slide:
    """A slide that is made region by region.

    Args:
        side: of the slide in pixels.
        tissue: share of it that is tissue; the rest is glass.
    """

    def __init__(self, side: int, tissue: float) -> None:
        from nucleus.data.synthetic.scenes import MAKERS

        self.side = side
        self.fields = []
        for number, modality in enumerate(FIELDS):
            labels, render = MAKERS[modality](np.random.default_rng([7, number]), (CELL, CELL))
            self.fields.append((render(labels), labels.astype(np.uint32)))
        cells = side // CELL
        rows, columns = np.indices((cells, cells)) - (cells - 1) / 2
        nearest = np.argsort(np.hypot(rows, columns * 1.01).ravel())[: max(1, round(tissue * side**2 / CELL**2))]
        self.first = np.full(cells * cells, -1, dtype=np.int64)  # number of nuclei before each field; -1 for glass
        count = 0
        for cell in sorted(nearest.tolist()):
            self.first[cell] = count
            count += int(self._field(cell)[1].max())
        self.cells = cells

    def _field(self, cell: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture and labels of one cell, in one of the eight ways to turn and mirror it."""
        picture, labels = self.fields[cell % len(self.fields)]
        turns, flip = cell // 3 % 4, cell % 2
        picture, labels = np.rot90(picture, turns), np.rot90(labels, turns)
        return (picture[:, ::-1], labels[:, ::-1]) if flip else (picture, labels)

    def tiles(self, *, truth: bool) -> Iterator[np.ndarray]:
        """The picture, uint8 (512, 512, 3), or the truth, uint32 (512, 512), as a TIFF stores its tiles."""
        for top, left in itertools.product(range(0, self.side, STORED_TILE), repeat=2):
            tile = np.zeros((STORED_TILE, STORED_TILE), np.uint32)
            tile = tile if truth else np.full((*tile.shape, 3), GLASS, np.uint8)
            bottom, right = top + STORED_TILE, left + STORED_TILE
            for row, column in itertools.product(
                range(top // CELL, (bottom - 1) // CELL + 1), range(left // CELL, (right - 1) // CELL + 1)
            ):
                inside = row < self.cells and column < self.cells
                cell = row * self.cells + column
                if not inside or self.first[cell] < 0:
                    continue
                y, x = row * CELL, column * CELL
                rows, columns = (max(y, top), min(y + CELL, bottom)), (max(x, left), min(x + CELL, right))
                part = self._field(cell)[truth][rows[0] - y : rows[1] - y, columns[0] - x : columns[1] - x]
                if truth:
                    part = np.where(part > 0, part + np.uint32(self.first[cell]), 0)
                tile[rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left] = part
            yield tile

    def write(self, picture: Path, truth: Path) -> None:
        """Write both files."""
        options: dict[str, Any] = {"tile": (STORED_TILE, STORED_TILE), "compression": "zlib"}
        shape = (self.side, self.side)
        tifffile.imwrite(picture, self.tiles(truth=False), shape=(*shape, 3), dtype=np.uint8, photometric="rgb",
                         bigtiff=True, **options)  # fmt: skip
        tifffile.imwrite(truth, self.tiles(truth=True), shape=shape, dtype=np.uint32, photometric="minisblack",
                         bigtiff=True, **options)  # fmt: skip


def start(slide: Path, output: Path, weights: Path) -> subprocess.Popen[bytes]:
    """The real command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "nucleus", "predict", str(slide), "--output", str(output), "--weights", str(weights),
         "--format", "labels,geojson,measurements", "--device", "cpu"]
    )  # fmt: skip


def watch(process: subprocess.Popen[bytes], until: Callable[[], bool] = lambda: False) -> tuple[float, float]:
    """Wait for its end, or kill it when a moment comes; seconds, and the largest resident memory in GiB."""
    begin, peak = time.perf_counter(), 0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        if until():
            process.kill()
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                peak = max(peak, int(line.split()[1]))
        time.sleep(0.1)
    return time.perf_counter() - begin, peak / (1 << 20)


def written(folder: Path) -> dict[str, bytes]:
    """The files that a user sees."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def at_the_seams(truth: np.ndarray, found: np.ndarray, grid: TileGrid) -> dict[str, float]:
    """Rates of nuclei missed and double near seams and elsewhere, and cut nuclei; of label images on disk."""
    labels, hit, parts = compare(truth, found, 0.5)
    ids, boxes = boxes_of_labels(truth)
    assert np.array_equal(ids, labels)
    whole = ((boxes[:, :2] % CELL > 0) & (boxes[:, 2:] % CELL > 0)).all(axis=1)
    near = np.zeros(len(ids), dtype=bool)
    for places, axis in zip(borders(grid, read=False), (1, 0), strict=True):
        for place in places.tolist():
            near |= (boxes[:, axis] - NEAR < place) & (boxes[:, axis + 2] + NEAR > place)
    row: dict[str, float] = {}
    for name, chosen in (("near", whole & near), ("elsewhere", whole & ~near)):
        count = int(chosen.sum())
        row |= {f"nuclei {name}": count, f"missed {name}": round(float((~hit[chosen]).mean()), 4),
                f"double {name}": round(float((parts[chosen] > 1).mean()), 5)}  # fmt: skip
    return row | {"cut": len(cut_nuclei(found, grid)), "straight in truth": len(cut_nuclei(truth, grid))}


def slide(weights: Path, side: int, tissue: float, folder: Path) -> dict[str, Any]:
    """A slide from its making to the counts at its seams."""
    picture, truth = folder / "slide.tif", folder / "truth.tif"
    begin = time.perf_counter()
    Slide(side, tissue).write(picture, truth)
    print(f"slide of {side} x {side} made in {time.perf_counter() - begin:.0f} s", flush=True)
    seconds, peak = watch(start(picture, folder / "once", weights))
    row: dict[str, Any] = {"case": f"slide of {side} x {side}", "tissue": tissue, "s": round(seconds, 1),
                           "peak GiB": round(peak, 2)}  # fmt: skip
    with open_image(picture) as source:
        grid = plan(source, Whole(), None)  # type: ignore[arg-type]
    tiles = folder / "twice" / ".nucleus" / "tiles" / "slide.tiles"
    process = start(picture, folder / "twice", weights)
    watch(process, lambda: len(list(tiles.glob("*.npz"))) >= len(grid) // 2)
    assert process.returncode == -9, "it ended before it could be killed"
    row["s after the kill"] = round(watch(start(picture, folder / "twice", weights))[0], 1)
    row["same files"] = written(folder / "once") == written(folder / "twice")
    import json

    done = json.loads((folder / "once" / ".nucleus" / "done" / "slide.json").read_bytes())
    row |= {"tiles": done["tiles"], "blank": done["blank"], "full": done["full"], "nuclei": done["nuclei"]}
    stored = [open_tiff(path) for path in (truth, folder / "once" / "slide_labels.tif")]
    row |= at_the_seams(stored[0].pixels, stored[1].pixels, grid)
    for one in stored:
        one.close()
    return row


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, metavar="W")
    parser.add_argument("--tile", type=int, default=512, metavar="N", help="for the real images (default 512)")
    parser.add_argument(
        "--precision", metavar="P", help="for the real images: float32 or bfloat16 (default: the config's)"
    )
    parser.add_argument(
        "--images", type=int, default=1000, metavar="N", help="about how many real images (default all)"
    )
    parser.add_argument(
        "--slide", type=int, default=4096, metavar="N", help="side in pixels, 0 for none (default 4096)"
    )
    parser.add_argument("--tissue", type=float, default=0.25, metavar="S", help="share of the slide (default 0.25)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    args = parser.parse_args()
    rows = []
    if args.images:
        rows += real_images(args.weights, args.tile, args.images, args.precision)
    if args.slide:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(slide(args.weights, args.slide, args.tissue, Path(folder)))
    for row in rows:
        print(*(f"{name}: {value}" for name, value in row.items()), sep="\n  ")
    if args.json:
        write_rows(args.json, rows)


if __name__ == "__main__":
    main()
