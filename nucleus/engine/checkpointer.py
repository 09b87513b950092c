"""Checkpoints that a kill cannot break: written whole or not at all, and loaded without running code."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from detectron2.engine import hooks

from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.modeling.checkpoint_reader import CheckpointReader
from nucleus.modeling.checkpoint_writer import write_checkpoint
from nucleus.modeling.pretrained import read_weights
from nucleus.zoo.files import weights_file

logger = logging.getLogger(__name__)

LAST = "last_checkpoint"  # the file that names the checkpoint to go on from
BEFORE = "last_checkpoint.before"  # that of a run which was in the folder before
FINAL = "model_final"  # the checkpoint after the last step


class NucleusCheckpointer(CheckpointReader):
    """Detectron2's checkpointer, with files that are renamed into place and hold plain values only.

    `last_checkpoint` is written after the file that it names is complete, so it never names half a file.
    """

    averaged = False  # whether, of a checkpoint with averaged weights, these are loaded

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
        write_checkpoint(state | extra, path)
        if last:
            self.tag_last_checkpoint(path.name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the checkpoint that `--resume` goes on from."""
        with atomic_write(Path(self.save_dir) / LAST) as temporary:
            temporary.write_text(last_filename_basename, encoding="utf-8")
        (Path(self.save_dir) / BEFORE).unlink(missing_ok=True)

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Go on from the last checkpoint where there is one, with `resume`; else load the model alone from `path`.

        A model that is loaded alone has the averaged weights where the file holds some: those that were evaluated. A
        run that was in the folder before is then gone on with only by who says so.

        Raises:
            InputError: the file is missing, or cannot be read; or a run without `resume` has begun in the folder of
                another one and not come to a checkpoint of its own.
        """
        resuming = resume and self.has_checkpoint()
        before = Path(self.save_dir) / BEFORE
        if resume and not resuming and self.save_dir and before.is_file():
            raise InputError(
                Path(self.save_dir) / LAST,
                expected="the name of a checkpoint",
                found="none: a run without --resume has begun in this folder since",
                remedy=f"Rename {before} to {LAST} to go on with the run before, or leave --resume away. "
                "model_best.pth and metrics.json may be of the new run.",
            )
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
        if resuming:
            return self.load(source)
        self.averaged = True
        loaded = self.load(source, checkpointables=[])
        if self.save_dir and self.save_to_disk and self.has_checkpoint():
            (Path(self.save_dir) / LAST).replace(before)
        return loaded

    def ended(self) -> bool:
        """Whether the checkpoint to go on from is that of the end of a run."""
        return self.has_checkpoint() and Path(self.get_checkpoint_file()).stem == FINAL

    def _load_file(self, filename: str) -> dict[str, Any]:
        loaded = super()._load_file(filename)
        if self.averaged and isinstance(loaded.get("ema"), dict):
            loaded["model"] = read_weights(filename)
        return loaded

    def remedy(self, path: str) -> str:
        """A run need not begin anew for one broken checkpoint."""
        return f"To go on from an earlier checkpoint, write its name into {Path(path).parent / LAST}."


class CheckpointHook(hooks.PeriodicCheckpointer):
    """Detectron2's hook, which writes model_final.pth after the last step, also where a run goes on from that step."""

    def before_train(self) -> None:
        """Of a run that was killed after its last periodic checkpoint, write model_final.pth, which is the same."""
        super().before_train()
        if 0 < self.trainer.start_iter == self.max_iter and not self.checkpointer.ended():
            self.checkpointer.save(FINAL, iteration=self.max_iter - 1)
