"""Checkpoints written whole or not at all, with the system's own error where they cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nucleus.formats.atomic import atomic_write


def write_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Write tensors and plain values as torch does.

    Raises:
        OSError: the file cannot be written. It is either the old one or complete.
    """
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch hides why the file could not be written
                raise error.__context__ from error
            raise
