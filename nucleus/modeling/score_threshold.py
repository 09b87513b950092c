"""The score threshold that travels with weights: which one, and on which data set it was chosen.

A checkpoint (.pth, .pt) holds it under the key "score_threshold", a plain dict; a .safetensors file in its metadata
under the same key, as JSON.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.modeling.checkpoint_writer import write_checkpoint

KEY = "score_threshold"
DEFAULT = 0.5  # where none is recorded
CHECKPOINTS = (".pth", ".pt")
SAFETENSORS = ".safetensors"


def read_score_threshold(path: str | Path) -> float | None:
    """Read the score threshold recorded with weights, without running any code in the file.

    Args:
        path: .pth, .pt or .safetensors; other files and addresses (Detectron2's model zoo) have none.

    Returns:
        In [0, 1]; None where none is recorded.

    Raises:
        InputError: the file is missing or broken, or what it records is no threshold.
    """
    return read_threshold_record(path).get("value")


def read_threshold_record(path: str | Path) -> dict[str, Any]:
    """Read all that is recorded about the score threshold; see `read_score_threshold`.

    Returns:
        "value", in [0, 1], "data set" on which it was chosen and "iteration", the last step of training before that;
        empty where nothing is recorded.
    """
    suffix = Path(path).suffix
    if suffix not in (*CHECKPOINTS, SAFETENSORS):
        return {}
    try:
        recorded = _from_safetensors(path) if suffix == SAFETENSORS else _load(path).get(KEY)
    except Exception as error:  # unpickling fails in as many ways as there are broken files
        raise InputError(path, expected="a weights file (.safetensors, .pth)",
                         found=(str(error).splitlines() or [type(error).__name__])[0][:160],
                         remedy="Copy or download it again.") from error  # fmt: skip
    if recorded is None or recorded == {}:
        return {}
    value = recorded.get("value") if isinstance(recorded, dict) else recorded
    if not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InputError(path, expected=f"a score threshold from 0 to 1 under {KEY}", found=repr(value)[:80],
                         remedy="Set TEST.SCORE_THRESHOLD, or choose it again (nucleus train --eval-only "
                                "--choose-threshold).")  # fmt: skip
    return {**recorded, "value": float(value)} if isinstance(recorded, dict) else {"value": float(value)}


def record_score_threshold(path: str | Path, record: Mapping[str, Any]) -> None:
    """Write a score threshold into a weights file, in place of an earlier one; all else in it stays.

    Args:
        path: .pth, .pt or .safetensors.
        record: plain values: "value", "data set" and "iteration".

    Raises:
        InputError: another kind of file, or one that is broken.
        OSError: the file cannot be written. It is either the old one or complete.
    """
    path = Path(path)
    if path.suffix not in (*CHECKPOINTS, SAFETENSORS):
        raise InputError(path, expected="weights in a .pth or .safetensors file", found=f"a file {path.suffix}")
    read_threshold_record(path)  # so that a broken file gets its message
    if path.suffix == SAFETENSORS:
        from safetensors.torch import load_file, save

        metadata = _metadata(path) | {KEY: json.dumps(dict(record))}
        whole = save(load_file(path), metadata=metadata)
        with atomic_write(path) as temporary:
            temporary.write_bytes(whole)
        return
    content = _load(path)
    if all(isinstance(value, torch.Tensor) for value in content.values()):  # a bare state dict
        content = {"model": content}
    write_checkpoint(content | {KEY: dict(record)}, path)


def _load(path: str | Path) -> dict[str, Any]:
    """A checkpoint, its tensors left on disk until they are used."""
    mapped = zipfile.is_zipfile(path)  # files of torch before 1.6 are not
    return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)


def _from_safetensors(path: str | Path) -> Any:
    return json.loads(_metadata(path).get(KEY, "null"))


def _metadata(path: str | Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})
