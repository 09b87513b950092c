"""The end of a run whose loss is no number any more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nucleus.errors import InputError

NAMED_AT_MOST = 16  # images in the message


def diverged(batch: Sequence[str], iteration: int, found: str) -> InputError:
    """The error that stops a run before the broken step reaches the weights.

    Args:
        batch: file names of the images of the step.
        iteration: of the step.
        found: what was not finite, such as "loss_mask nan".
    """
    named = ", ".join(batch[:NAMED_AT_MOST]) + (" ..." if len(batch) > NAMED_AT_MOST else "")
    return InputError(
        named or "the batch",
        expected=f"finite losses and gradients at iteration {iteration}",
        found=found,
        remedy="Nothing was saved after it: the last checkpoint is that of an earlier iteration. Look at these images "
        "and their masks; if they are sound, lower SOLVER.BASE_LR or raise SOLVER.WARMUP_ITERS, and start again or add "
        "--resume.",
    )


def file_names(batch: Sequence[dict[str, Any]]) -> list[str]:
    """The images of a batch."""
    return [str(sample.get("file_name", "an image without a name")) for sample in batch]
