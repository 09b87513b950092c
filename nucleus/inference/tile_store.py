"""What each tile of an image gave, kept on disk until the image is done: a run that was killed goes on from there."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleus.formats.atomic import atomic_write
from nucleus.inference.tiling import Tile
from nucleus.masks.box_masks import BoxMasks

SETTINGS = "settings.json"


@dataclass(frozen=True, eq=False)
class TileNuclei:
    """What one tile gave.

    Attributes:
        masks: N nuclei in its read region, none overlapping another, best first.
        scores: float (N,), in [0, 1].
        full: the model gave as many detections as it gives at the most.
        blank: there was nothing to see, and the network was not asked.
    """

    masks: BoxMasks
    scores: np.ndarray
    full: bool = False
    blank: bool = False


class TileStore:
    """Nuclei of tiles, a file each.

    Args:
        folder: made if missing, for one image alone. What it holds from a run with other settings is removed.
        settings: all that the nuclei of a tile depend on, as JSON can hold it.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        text = json.dumps(settings, indent=2, sort_keys=True)
        known = folder / SETTINGS
        if folder.is_dir() and not (known.is_file() and known.read_text(encoding="utf-8") == text):
            self.remove()
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(known) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def load(self, tile: Tile) -> TileNuclei | None:
        """What a tile gave; None if it is not there, or damaged."""
        try:
            with np.load(self._path(tile), allow_pickle=False) as file:
                pixels = np.unpackbits(file["pixels"], count=int(file["count"])).astype(bool)
                masks = BoxMasks(file["boxes"], pixels, tile.read.height, tile.read.width)
                return TileNuclei(masks, file["scores"], bool(file["full"]), bool(file["blank"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, tile: Tile, nuclei: TileNuclei) -> None:
        """Keep what a tile gave."""
        with atomic_write(self._path(tile)) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                boxes=nuclei.masks.boxes,
                pixels=np.packbits(nuclei.masks.pixels),
                count=nuclei.masks.pixels.size,
                scores=nuclei.scores,
                full=nuclei.full,
                blank=nuclei.blank,
            )

    def remove(self) -> None:
        """Remove the folder and all that it holds."""
        shutil.rmtree(self.folder)

    def _path(self, tile: Tile) -> Path:
        return self.folder / f"tile_{tile.number:07d}.npz"
