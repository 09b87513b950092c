"""run.json: what was run, on what, with what, and what came of it; one entry a start."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.utils import comm

import nucleus
from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write

logger = logging.getLogger(__name__)

PACKAGES = ("torch", "torchvision", "detectron2", "timm", "numpy", "scipy", "opencv-python-headless", "scikit-image")


@contextmanager
def run_manifest(cfg: CfgNode, **known: Any) -> Iterator[dict[str, Any]]:
    """Add an entry to OUTPUT_DIR/run.json when a run starts, and complete it when the run ends.

    A run that is killed leaves its entry with "end" null. Only the first process writes.

    Args:
        cfg: of the run.
        known: what else is known when it starts, such as the first iteration.

    Yields:
        The entry, for the caller to add to: "scores", and what else is known at the end.
    """
    path = Path(cfg.OUTPUT_DIR) / "run.json"
    entry: dict[str, Any] = describe_run(cfg) | known if comm.is_main_process() else {}
    entries = [*_read(path), entry]
    _write(path, entries)
    try:
        yield entry
        entry.setdefault("outcome", "finished")
    except BaseException as error:
        entry["outcome"] = f"{type(error).__name__}: {error}"
        raise
    finally:
        entry["end"] = _now()
        _write(path, entries)


def check_same_data(cfg: CfgNode) -> None:
    """See, before a run is resumed, that its data sets are those that it began with, as run.json has them.

    Raises:
        InputError: the annotations of one have changed since.
    """
    path = Path(cfg.OUTPUT_DIR) / "run.json"
    before: dict[str, Any] = {}
    for entry in _read(path):
        if "first_iteration" in entry:  # of training; an evaluation may be of any data
            before |= entry["data"]
    for name in dict.fromkeys([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]):
        known, now = before.get(name, {}).get("sha256"), _data(name)
        if known and now["sha256"] and known != now["sha256"]:
            raise InputError(
                now["file"] or name,
                expected=f"the annotations that the run began with, SHA-256 {known[:12]}... (in {path})",
                found=f"others, SHA-256 {now['sha256'][:12]}...",
                remedy="Put them back to go on. To train on from its weights on the new ones, start another run: "
                "MODEL.WEIGHTS a checkpoint of this one, and another OUTPUT_DIR.",
            )


def describe_run(cfg: CfgNode) -> dict[str, Any]:
    """What is known when a run starts.

    Returns:
        Plain values: command, times (UTC), seed, device, versions, source (commit, and whether files differ from it),
        sha256 of the COCO files and of the config, and the config itself.
    """
    canonical = json.dumps(cfg, sort_keys=True)  # YAML writes equal values in more than one way
    return {
        "command": sys.argv,
        "start": _now(),
        "end": None,
        "seed": cfg.SEED,
        "device": _device(cfg.MODEL.DEVICE),
        "processes": comm.get_world_size(),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "nucleus": nucleus.__version__} | _versions(),
        "source": _source(Path(nucleus.__file__).parent),
        "data": {name: _data(name) for name in dict.fromkeys([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST])},
        "config sha256": hashlib.sha256(canonical.encode()).hexdigest(),
        "config": cfg.dump(),
    }


def _source(package: Path) -> dict[str, Any] | None:
    """Commit of the checkout that holds the package; None where it is installed, or git is not there."""
    try:
        _git(package, "ls-files", "--error-unmatch", "__init__.py")  # not merely a folder inside another checkout
        changed = _git(package, "status", "--porcelain", "--untracked-files=no")
        return {"commit": _git(package, "rev-parse", "HEAD"), "modified": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _device(name: str) -> str:
    return f"{name} ({torch.cuda.get_device_name()})" if name.startswith("cuda") else f"{name} ({platform.machine()})"


def _data(name: str) -> dict[str, str | None]:
    file = MetadataCatalog.get(name).get("json_file")
    if file is None or not Path(file).is_file():
        return {"file": file, "sha256": None}
    return {"file": file, "sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest()}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _read(path: Path) -> list[dict[str, Any]]:
    """Earlier entries; a file that is none of ours is kept under another name."""
    if not path.is_file() or not comm.is_main_process():
        return []
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))["starts"])
    except (ValueError, KeyError, TypeError):
        aside = path.with_suffix(".unreadable.json")
        path.replace(aside)
        logger.warning("%s: no run manifest; kept as %s", path, aside.name)
        return []


def _write(path: Path, entries: list[dict[str, Any]]) -> None:
    if comm.is_main_process():
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps({"starts": _without_nan(entries)}, indent=1), encoding="utf-8")


def _without_nan(value: Any) -> Any:
    """Undefined scores as null, since JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value
