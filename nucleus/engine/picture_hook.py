"""The pictures of each evaluation, in TensorBoard."""

from __future__ import annotations

from pathlib import Path

from detectron2.utils import comm

from nucleus.engine.evaluation_hook import EvaluationHook
from nucleus.formats.image import read_image, to_rgb8


class PictureHook(EvaluationHook):
    """Show panels.png (truth, prediction, errors) of each data set. Stands after the hook that evaluates.

    Args:
        period: see EvaluationHook.
        folders: of the evaluations, one a data set, each named as its data set; those without a picture are left out.
    """

    def __init__(self, period: int, folders: list[Path]) -> None:
        super().__init__(period)
        self.folders = folders

    def act(self) -> None:
        """Hand the pictures to the writers; in the first process only, which alone has writers."""
        if not comm.is_main_process():
            return
        for folder in self.folders:
            path = folder / "panels.png"
            if path.is_file():
                pixels = to_rgb8(read_image(path))
                self.trainer.storage.put_image(f"evaluation/{folder.name}", pixels.transpose(2, 0, 1))
