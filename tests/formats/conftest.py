"""What several format tests read: real masks, a pyramid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from nucleus.formats import tiff
from nucleus.formats.kaggle_csv import read_kaggle_csv
from nucleus.masks.kaggle_runs import runs_from_kaggle
from nucleus.masks.runs import label_image_from_runs


@pytest.fixture(scope="session")
def real_label_images(bbbc038_source: Path) -> list[tuple[str, np.ndarray]]:
    """ImageId and label image, int32 (H, W), of every fourth test image of BBBC038: pieces and holes included."""
    rows: dict[str, list] = {}
    for row in read_kaggle_csv(bbbc038_source / "stage1_solution.csv"):
        rows.setdefault(row.image_id, []).append(row)
    images = []
    for image_id in sorted(rows)[::4]:
        first = rows[image_id][0]
        masks = [runs_from_kaggle(row.runs, first.height, first.width) for row in rows[image_id]]
        images.append((image_id, label_image_from_runs(masks, first.height, first.width)))
    return images


@pytest.fixture
def region_by_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also small TIFF files are read tile by tile."""
    monkeypatch.setattr(tiff, "AT_ONCE", 0)


@pytest.fixture(scope="session")
def pyramid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """2048 x 2048, three levels, tiled and compressed, as an OME-TIFF."""
    path = tmp_path_factory.mktemp("pyramid") / "slide.ome.tif"
    rows, columns = np.mgrid[:2048, :2048]
    full = ((rows // 7 * 31 + columns // 5 * 17) % 3000 + 500).astype(np.uint16)
    with tifffile.TiffWriter(path) as writer:
        options = {"tile": (256, 256), "compression": "zlib"}
        writer.write(full, subifds=2, metadata={"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}, **options)
        writer.write(full[::2, ::2], subfiletype=1, **options)
        writer.write(full[::4, ::4], subfiletype=1, **options)
    return path, full
