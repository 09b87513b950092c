"""Detectron2's checkpointer for more kinds of file, and without running what a file could hold besides numbers."""

from __future__ import annotations

from typing import Any

from detectron2.checkpoint import DetectionCheckpointer

from nucleus.errors import InputError
from nucleus.modeling.array_pickle import read_arrays
from nucleus.modeling.from_torchvision import from_torchvision, is_torchvision
from nucleus.modeling.pretrained import load_plain, read_weights


class CheckpointReader(DetectionCheckpointer):
    """Loads by name what fits, and logs what does not.

    Files are Detectron2's (.pth; .pkl of its model zoo and of Caffe2), .safetensors, and torchvision's
    `maskrcnn_resnet50_fpn`, which is converted for the model.
    """

    def _load_file(self, filename: str) -> dict[str, Any]:
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
            return load_plain(path)
        except Exception as error:  # unpickling fails in as many ways as there are broken files
            raise InputError(
                path,
                expected="a checkpoint of tensors and plain values",
                found=(str(error).splitlines() or [type(error).__name__])[0][:160],
                remedy=self.remedy(path),
            ) from error

    def remedy(self, path: str) -> str:
        """What to do about a broken file."""
        return "Copy or download it again."
