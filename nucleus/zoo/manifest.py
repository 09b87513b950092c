"""What is known of each model that has a name, and looking one up. Needs no torch.

A model is a folder: `model.json` (a `ZooModel`), `config.yaml` and, where it ships, the weights. The folder of all
models is the package's own, `nucleus/zoo/models`, or the one that $NUCLEUS_ZOO names, for models of one's own.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
from pathlib import Path
from typing import Any

from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.zoo.typed_json import MismatchError, from_json
from nucleus.zoo.zoo_model import FORMAT, OVERALL, ZooModel

FILE = "model.json"
CONFIG = "config.yaml"
DEFAULT = "lite"  # the model of those who name none
LARGEST = 2 << 30  # bytes of a weights file; more is a mistake or an attack
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def models_folder() -> Path:
    """$NUCLEUS_ZOO, or the package's."""
    own = os.environ.get("NUCLEUS_ZOO")
    return Path(own) if own else Path(__file__).parent / "models"


def read_models() -> list[ZooModel]:
    """All models, the smallest first.

    Raises:
        InputError: a model.json does not hold what it should; the folder of $NUCLEUS_ZOO is not there.
    """
    folder = models_folder()
    if not folder.is_dir():
        if "NUCLEUS_ZOO" in os.environ:
            raise InputError(folder, expected="the folder of models that NUCLEUS_ZOO names", found="nothing there")
        return []
    models = [read_model(path.parent) for path in sorted(folder.glob(f"*/{FILE}"))]
    return sorted(models, key=lambda model: model.weights.bytes)


def find_model(name: str) -> ZooModel:
    """Look a model up.

    Raises:
        InputError: there is none of this name; the message lists those that there are.
    """
    models = {model.name: model for model in read_models()}
    if name in models:
        return models[name]
    if not models:
        raise InputError(f"model {name}", expected="a model that ships", found="none: no model ships yet",
                         remedy="Give weights of your own: --weights W, or load_model(weights=...).")  # fmt: skip
    near = difflib.get_close_matches(name, models, n=1)
    raise InputError(f"model {name}", expected=f"one of {', '.join(models)}", found="none of this name",
                     remedy=f"Did you mean {near[0]}?" if near else "See nucleus zoo.")  # fmt: skip


def read_model(folder: Path) -> ZooModel:
    """Read a model.json and check what it says.

    Args:
        folder: of the model; its name is the model's.

    Raises:
        InputError: the file is missing or broken, or a value is not what it must be.
    """
    path = folder / FILE
    remedy = "Install nucleus again, or write the model again with tools/ship_model.py."
    try:
        model = from_json(ZooModel, json.loads(path.read_text(encoding="utf-8")))
        _check(model, folder.name)
    except MismatchError as error:
        raise InputError(f"{path}, {error.where}", expected=error.expected, found=error.found,
                         remedy=remedy) from error  # fmt: skip
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(path, expected="what is known of a model, as JSON", found=str(error)[:160],
                         remedy=remedy) from error  # fmt: skip
    return model


def write_model(folder: Path, model: ZooModel) -> Path:
    """Write a model.json.

    Args:
        folder: of the model; made if missing.
        model: what is known; it must pass the checks of `read_model`.

    Returns:
        The file.
    """
    _check(model, folder.name)
    path = folder / FILE
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(as_plain(model), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def as_plain(model: ZooModel) -> dict[str, Any]:
    """The model as JSON knows it."""
    return dataclasses.asdict(model)


def _check(model: ZooModel, folder: str) -> None:
    """What annotations cannot say."""
    weights, evaluations = model.weights, model.scores.values()
    scores = [
        score
        for evaluation in evaluations
        for group in evaluation.groups.values()
        for score in (*group.image_mean.values(), *group.pooled.values())
    ]
    fractions = [value for score in scores for value in (score.value, score.low, score.high) if value is not None]
    fractions += [model.score_threshold.value, *(evaluation.threshold for evaluation in evaluations)]
    outside = [value for value in fractions if not 0 <= value <= 1]
    for right, where, expected, found in (
        (model.format == FORMAT, "format", FORMAT, model.format),
        (model.name == folder, "name", f"{folder}, as its folder", model.name),
        (NAME.fullmatch(model.name), "name", "lower-case letters, digits, - and _", model.name),
        (re.fullmatch(r"[A-Za-z0-9][\w.-]*\.safetensors", weights.file), "weights.file",
         "the name of a .safetensors file", weights.file),
        (0 < weights.bytes <= LARGEST, "weights.bytes", f"1 to {LARGEST}", str(weights.bytes)),
        (re.fullmatch(r"[0-9a-f]{64}", weights.sha256), "weights.sha256", "64 hexadecimal digits", weights.sha256),
        (weights.url is None or re.fullmatch(rf"https?://\S+/{re.escape(weights.file)}", weights.url), "weights.url",
         f"an http or https address that ends with /{weights.file}", str(weights.url)),
        (not outside, "scores and thresholds", "numbers from 0 to 1", str(outside[:1])),
        (all(OVERALL in evaluation.groups for evaluation in evaluations), "scores", "overall ones", "none"),
    ):  # fmt: skip
        if not right:
            raise MismatchError(where, expected, found)
