"""Checkpoints that a kill cannot break: written whole or not at all, and loaded without running code."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer

from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.modeling.array_pickle import read_arrays
from nucleus.modeling.from_torchvision import from_torchvision, is_torchvision
from nucleus.modeling.pretrained import read_weights
from nucleus.zoo.files import weights_file

logger = logging.getLogger(__name__)

LAST = "last_checkpoint"  # the file that names the checkpoint to go on from


class NucleusCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer, with files that are renamed into place and hold plain values only.

    `last_checkpoint` is written after the file that it names is complete, so it never names half a file.
    """

    def save(self, name: str, *, last: bool = True, **extra: Any) -> None:
        """Write OUTPUT_DIR/NAME.pth: the model and everything that was added; in the first process only.

        Args:
            name: without suffix.
            last: whether `--resume` goes on from it.
            extra: plain values to store with it.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        state = {"model": self.model.state_dict()}
        state |= {key: held.state_dict() for key, held in self.checkpointables.items()}
        path = Path(self.save_dir) / f"{name}.pth"
        logger.info("Saving %s", path)
        with atomic_write(path) as temporary:
            torch.save(state | extra, temporary)
        if last:
            self.tag_last_checkpoint(path.name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the checkpoint that `--resume` goes on from."""
        with atomic_write(Path(self.save_dir) / LAST) as temporary:
            temporary.write_text(last_filename_basename, encoding="utf-8")

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Go on from the last checkpoint where there is one, with `resume`; else load the model alone from `path`.

        Raises:
            InputError: the file is missing, or cannot be read.
        """
        resuming = resume and self.has_checkpoint()
        if self.save_dir and self.save_to_disk:
            for leftover in Path(self.save_dir).glob(".*.tmp.pth"):  # of a kill while saving
                leftover.unlink()
        source = self.get_checkpoint_file() if resuming else weights_file(path)
        if source and "://" not in source and not Path(source).is_file():
            where = Path(self.save_dir) / LAST if resuming else "MODEL.WEIGHTS"
            raise InputError(
                where,
                expected="the name of a checkpoint",
                found=f"{source}, which does not exist",
                remedy=f"Write the name of a .pth file that is there into {where}." if resuming else "",
            )
        return self.load(source) if resuming else self.load(source, checkpointables=[])

    def _load_file(self, filename: str) -> dict[str, Any]:
        """As Detectron2's, and .safetensors files and torchvision's checkpoints; of a .pkl nothing but arrays."""
        if filename.endswith(".safetensors"):
            return {"model": read_weights(filename)}
        if filename.endswith(".pkl"):
            content = read_arrays(filename)
            if "model" in content and "__author__" in content:
                return content  # as Detectron2's model zoo writes them
            blobs = content.get("blobs", content)  # of Caffe2
            kept = {name: value for name, value in blobs.items() if not name.endswith("_momentum")}
            return {"model": kept, "__author__": "Caffe2", "matching_heuristics": True}
        loaded = super()._load_file(filename)
        if is_torchvision(loaded["model"]):
            loaded["model"] = from_torchvision(loaded["model"], self.model, filename)
        return loaded

    def _torch_load(self, path: str) -> dict[str, Any]:
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # unpickling fails in as many ways as there are broken files
            raise InputError(
                path,
                expected="a checkpoint of tensors and plain values",
                found=(str(error).splitlines() or [type(error).__name__])[0][:160],
                remedy=f"To go on from an earlier checkpoint, write its name into {Path(path).parent / LAST}.",
            ) from error
