"""The files of a model, its weights checked before anything reads them. Needs no torch.

Weights are .safetensors files, which hold tensors and nothing that runs. They ship in the package, or are fetched once
into the cache: $NUCLEUS_CACHE, or ~/.cache/nucleus (below $XDG_CACHE_HOME, where that is set).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from nucleus.errors import InputError
from nucleus.zoo.manifest import CONFIG, DEFAULT, find_model, models_folder
from nucleus.zoo.zoo_model import ZooModel

SCHEME = "nucleus://"
BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class ModelFiles:
    """What a model is loaded from.

    Attributes:
        weights: a local file, or an address that Detectron2's checkpointer knows.
        config: that it was trained with.
        name: of the model, where it is one of the zoo.
    """

    weights: str
    config: Path
    name: str | None = None


def choose_files(
    name: str | None = None, weights: str | Path | None = None, config_file: str | Path | None = None
) -> ModelFiles:
    """Find the files that a user means.

    Args:
        name: of a model, with or without "nucleus://"; DEFAULT where neither name nor weights nor config are given.
        weights: of one's own instead, or nucleus://NAME.
        config_file: with own weights; None for config.yaml beside them, which every training writes.

    Raises:
        InputError: name and weights are both given, or a config without weights; a file is not there; no model has
            this name, or its weights cannot be had or are not what they were.
    """
    weights = None if weights is None else str(weights)
    if weights is not None and weights.startswith(SCHEME) and name is None:
        name, weights = weights, None
    if name is not None and (weights is not None or config_file is not None):
        other = "weights" if weights is not None else "a config"
        raise InputError(f"model {name}", expected="a model by name, or own weights with their config",
                         found=f"a name and {other}", remedy="Leave one out.")  # fmt: skip
    if weights is None and config_file is not None:
        raise InputError(config_file, expected="weights that were trained with this config", found="none given",
                         remedy="Name them (--weights W), or leave the config out.")  # fmt: skip
    if weights is None:
        return named_files(DEFAULT if name is None else name)
    if weights and "://" not in weights and not Path(weights).is_file():
        raise InputError(weights, expected="a trained checkpoint", found="nothing there")
    config = Path(weights).parent / CONFIG if config_file is None else Path(config_file)
    if not config.is_file():
        raise InputError(config, expected="the config that the weights were trained with", found="nothing there",
                         remedy="Name the config file.")  # fmt: skip
    return ModelFiles(weights, config)


def named_files(name: str) -> ModelFiles:
    """Find the files of a model, fetch its weights if they are not here yet, and check their SHA-256.

    Args:
        name: of a model, with or without "nucleus://".

    Raises:
        InputError: no model has this name, or its weights cannot be had or are not what they were.
    """
    model = find_model(name.removeprefix(SCHEME))
    return ModelFiles(str(_weights(model)), _config(model), model.name)


def weights_file(address: str) -> str:
    """What MODEL.WEIGHTS means: of nucleus://NAME the checked local file; all else as it is."""
    return named_files(address).weights if address.startswith(SCHEME) else address


def config_file(address: str) -> str:
    """Likewise of a config file; its weights are not needed for it."""
    return str(_config(find_model(address.removeprefix(SCHEME)))) if address.startswith(SCHEME) else address


def cached_file(model: ZooModel) -> Path | None:
    """Where weights that are fetched are kept; None for those that ship. Other weights of this name are elsewhere."""
    if model.weights.url is None:
        return None
    return cache_folder() / "models" / f"{model.name}-{model.weights.sha256[:12]}" / model.weights.file


def cache_folder() -> Path:
    """What is fetched is kept here, and can be deleted at any time."""
    own, shared = os.environ.get("NUCLEUS_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else Path(shared or Path.home() / ".cache") / "nucleus"


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _config(model: ZooModel) -> Path:
    path = models_folder() / model.name / CONFIG
    if not path.is_file():
        raise InputError(path, expected=f"the config of the model {model.name}", found="nothing there",
                         remedy="Install nucleus again.")  # fmt: skip
    return path


def _weights(model: ZooModel) -> Path:
    cached = cached_file(model)
    if cached is not None:
        return _fetched(model, cached)
    path = models_folder() / model.name / model.weights.file
    if not path.is_file():
        found = "nothing there"
    elif path.stat().st_size != model.weights.bytes:
        found = f"{path.stat().st_size} bytes"
    else:
        digest = sha256_of(path)
        if digest == model.weights.sha256:
            return path
        found = f"SHA-256 {digest}"
    raise InputError(path, expected=f"{model.weights.bytes} bytes with SHA-256 {model.weights.sha256}", found=found,
                     remedy="Install nucleus again.")  # fmt: skip


def _fetched(model: ZooModel, path: Path) -> Path:
    """Fetch weights, or check those that came before. Processes that want the same file wait for the first."""
    from nucleus.data.download import RemoteFile, fetch_all  # only who fetches needs what it imports
    from nucleus.data.lock import only_writer

    weights = model.weights
    assert weights.url is not None
    try:
        with only_writer(path.parent, wait=True):
            known = RemoteFile(weights.file, weights.bytes, weights.sha256)
            fetch_all(weights.url.rpartition("/")[0], path.parent, (known,), progress=True)
    except OSError as error:
        raise InputError(path.parent, expected="a folder with room that can be written to",
                         found=error.strerror or str(error),
                         remedy="Name another folder: NUCLEUS_CACHE=FOLDER.") from error  # fmt: skip
    return path
