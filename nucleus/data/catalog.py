"""Registration of the data sets with Detectron2's DatasetCatalog and MetadataCatalog."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from nucleus.data.registry import BUILT_IN, SPLITS, read_registry
from nucleus.errors import InputError
from nucleus.formats.coco import read_coco_rles


def register_all(datasets_root: str | Path | None = None) -> None:
    """Register `bbbc038_SPLIT`, `bbbc038_synthetic_SPLIT` and every data set that `nucleus convert` made.

    Files are read when a data set is first used, so that registering costs nothing and needs no data. Calling it again
    with another root registers that root's data sets instead.

    Args:
        datasets_root: the data root; `$DETECTRON2_DATASETS`, or `datasets`, when not given.
    """
    root = Path(datasets_root or os.environ.get("DETECTRON2_DATASETS", "datasets"))
    for folder in BUILT_IN:
        for split in SPLITS:
            json_file = root / folder / "annotations" / f"bbbc038_{split}.json"
            register(f"{folder}_{split}", json_file, root / folder)
    for name, entry in read_registry(root).items():
        register(name, entry.json_file, entry.image_root)


def register(name: str, json_file: str | Path, image_root: str | Path) -> None:
    """Register one COCO file under a name, in place of what had that name before.

    Args:
        name: as used in DATASETS.TRAIN and DATASETS.TEST.
        json_file: COCO file.
        image_root: folder that the file names are relative to.
    """
    if name in DatasetCatalog.list():
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, lambda: load_records(json_file, image_root))
    MetadataCatalog.get(name).set(
        json_file=str(json_file), image_root=str(image_root), evaluator_type="nucleus", thing_classes=["nucleus"]
    )


def check_data_sets(key: str, names: Sequence[str]) -> None:
    """Refuse, before hours of training, data sets that it would fail on at its end.

    Args:
        key: of the config, that names them.
        names: of the data sets.

    Raises:
        InputError: there is none, one is not registered, or its file is missing.
    """
    if not names:
        raise InputError(key, expected="the name of a data set", found="none")
    for name in names:
        if name not in DatasetCatalog.list():
            own = [known for known in DatasetCatalog.list() if MetadataCatalog.get(known).get("json_file")]
            raise InputError(key, expected=f"data sets that are registered: {', '.join(own)}", found=name,
                             remedy="`nucleus convert` registers your own, in $DETECTRON2_DATASETS.")  # fmt: skip
        json_file = MetadataCatalog.get(name).get("json_file")
        if json_file is not None:
            _check_file(json_file, f" Or set {key} to others.")


def _check_file(json_file: str | Path, otherwise: str = "") -> None:
    if not Path(json_file).is_file():
        raise InputError(
            json_file,
            expected="a converted data set",
            found="nothing there",
            remedy=f"Run `nucleus prepare` (or `nucleus synth`), or set DETECTRON2_DATASETS.{otherwise}",
        )


def load_records(json_file: str | Path, image_root: str | Path) -> list[dict[str, Any]]:
    """Read a COCO file into Detectron2's records, one dict an image.

    Unlike Detectron2's loader this keeps the RLEs of one image together (`rles`), since the mapper draws them into a
    label image, and keeps `modality` and `group`. Images without nuclei are kept.

    Returns:
        Dicts with file_name, image_id, height and width (pixels), modality, group and rles (one compressed COCO RLE
        a nucleus; crowd regions are left out).

    Raises:
        InputError: the file is missing or is no COCO file.
    """
    _check_file(json_file)
    coco = read_coco_rles(json_file)
    rles: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in coco["images"]}
    for annotation in coco["annotations"]:
        if not annotation["iscrowd"]:
            rles[annotation["image_id"]].append(annotation["segmentation"])
    return [
        {
            "file_name": str(Path(image_root) / image["file_name"]),
            "image_id": image["id"],
            "height": image["height"],
            "width": image["width"],
            "modality": image.get("modality", "unknown"),
            "group": image.get("group", ""),
            "rles": rles[image["id"]],
        }
        for image in coco["images"]
    ]
