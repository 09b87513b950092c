"""One image of BBBC038: its files installed in the data root, its masks decoded, checked and encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nucleus.data.archives import Source, install
from nucleus.data.bbbc038 import SOLUTION, TRAIN, ImageFiles
from nucleus.data.image_record import Nucleus
from nucleus.data.mask_collector import MaskCollector, decode_mask
from nucleus.data.modality import modality_of
from nucleus.data.repairs import Repair, Repairs
from nucleus.data.seams import Borders, borders_of
from nucleus.errors import InputError
from nucleus.formats.image import read_image, to_rgb8
from nucleus.formats.kaggle_csv import RunRow
from nucleus.masks.kaggle_runs import decode_kaggle


@dataclass(frozen=True)
class Job:
    """One image to convert.

    Attributes:
        part: "stage1_train" or "stage1_test".
        files: of the image.
        rows: its lines of the solution, for a test image.
    """

    part: str
    files: ImageFiles
    rows: tuple[RunRow, ...] = ()


@dataclass(frozen=True)
class Converted:
    """What became of an image.

    Attributes:
        part: "stage1_train" or "stage1_test".
        image_id: the ImageId.
        file_name: relative to the data root.
        height, width: in pixels; 0 for an image that was left out.
        modality: its kind.
        nuclei: its masks.
        borders: for finding its group; None for an image that was left out.
        shared_pixels: pixels of later masks that earlier ones hold.
        repairs: what was wrong.
    """

    part: str
    image_id: str
    file_name: str
    height: int = 0
    width: int = 0
    modality: str = ""
    nuclei: tuple[Nucleus, ...] = ()
    borders: Borders | None = None
    shared_pixels: int = 0
    repairs: tuple[Repair, ...] = ()


@dataclass(frozen=True)
class ImageConverter:
    """Converts one image after the other, in any process.

    Attributes:
        sources: of the parts.
        root: the data root.
        strict: raise at the first thing that is wrong.
    """

    sources: Mapping[str, Source]
    root: Path
    strict: bool

    def __call__(self, job: Job) -> Converted:
        """Install, decode and encode an image and its masks.

        Raises:
            InputError: something is wrong, and `strict`.
            OSError: the data root cannot be written.
        """
        repairs = Repairs(self.strict)
        images = self._folder(job, "images")
        name = job.files.image
        path = self.root / job.part / name if images is None else images / Path(name).name
        result = Converted(job.part, job.files.image_id, path.relative_to(self.root).as_posix())
        try:
            if images is not None:
                self._install(job, name, images)
            image = read_image(path)
        except InputError as error:
            repairs.add("unreadable_image", f"{job.part}/{name}", error.found)
            return replace(result, repairs=tuple(repairs.found))
        height, width = image.shape[:2]
        masks = MaskCollector(height, width, repairs)
        if job.part == TRAIN:
            self._take_masks(job, masks, repairs)
        else:
            _take_rows(job.rows, height, width, masks, repairs)
        return replace(
            result,
            height=height,
            width=width,
            modality=modality_of(to_rgb8(image), [nucleus.area for nucleus in masks.nuclei]),
            nuclei=tuple(masks.nuclei),
            borders=borders_of(image),
            shared_pixels=masks.shared_pixels,
            repairs=tuple(repairs.found),
        )

    def _take_masks(self, job: Job, masks: MaskCollector, repairs: Repairs) -> None:
        folder = self._folder(job, "masks")
        for name in job.files.masks:
            where = f"{job.part}/{name}"
            try:
                mask = decode_mask(self._install(job, name, folder))
            except InputError as error:
                repairs.add("unreadable_mask", where, error.found)
                continue
            if mask is None:
                repairs.add("unreadable_mask", where, "a file that cannot be decoded")
            else:
                masks.add(mask, where)

    def _folder(self, job: Job, kind: str) -> Path | None:
        """Make the folder that files go to; None if they are there already, the source being the data root's own."""
        part = self.root / job.part
        if self.sources[job.part].path == part:
            return None
        folder = part / job.files.image_id / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _install(self, job: Job, name: str, folder: Path | None) -> bytes:
        """Read a file from its source and see that it is in the folder."""
        content = self.sources[job.part].read(name)
        if folder is not None:
            install(content, folder, name.rpartition("/")[2])
        return content


def _take_rows(rows: Sequence[RunRow], height: int, width: int, masks: MaskCollector, repairs: Repairs) -> None:
    for row in rows:
        where = f"{SOLUTION} line {row.line}"
        if row.fault is not None:
            repairs.add("bad_run", where, row.fault)
        elif row.height is not None and (row.height, row.width) != (height, width):
            found = f"{row.height} x {row.width} pixels for an image of {height} x {width}"
            repairs.add("mask_size", where, found)
        elif row.runs:
            try:
                masks.add(decode_kaggle(row.runs, height, width).view(np.uint8), where)
            except ValueError as error:
                repairs.add("bad_run", where, str(error))
        elif len(rows) > 1:  # alone, an empty line says that the image has no nucleus
            repairs.add("empty_mask", where, "no runs beside other lines of the image")
