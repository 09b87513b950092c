"""Making a model of the zoo: half-precision weights, a config that stands alone, and what is known of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode

from nucleus.config import load_config
from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.modeling.pretrained import read_weights
from nucleus.modeling.score_threshold import KEY, read_threshold_record
from nucleus.zoo.evidence import is_absolute, read_evaluation, read_run
from nucleus.zoo.files import SCHEME, config_file, sha256_of
from nucleus.zoo.manifest import CONFIG, find_model
from nucleus.zoo.zoo_model import FORMAT, Licence, Run, Threshold, Weights, ZooModel

WEIGHTS = "weights.safetensors"
LARGEST_SHIPPED = 16_000_000  # bytes of weights in the package
WEIGHTS_LICENCE = "Apache-2.0"
DATA_LICENCES = {"bbbc038": "BBBC038, CC0-1.0", "bbbc038_synthetic": "made by nucleus synth, Apache-2.0"}


def make_model(
    folder: Path,
    *,
    weights: Path,
    runs: Sequence[Path | str],
    test_scores: Path,
    other_scores: Sequence[Path] = (),
    url: str | None = None,
    data_licence: str | None = None,
) -> ZooModel:
    """Write the weights and the config of a model, and gather what is known of it.

    Args:
        folder: of the model; its name is the model's.
        weights: a checkpoint with its score threshold; its averaged weights are taken where it has them.
        runs: what it comes from, in order: folders of training runs, and models of the zoo (nucleus://NAME) that a run
            began with. The last one is a folder, whose config.yaml is the model's config, but for how the whole model
            is trained where it trained a part alone (`trained_whole`).
        test_scores: scores.json of these weights on the test set, at the recorded score threshold.
        other_scores: likewise on others, such as the validation set.
        url: where the weights will be fetched from; None where they ship.
        data_licence: of the training data; None where it is known by their name.

    Returns:
        What is known, not written yet.

    Raises:
        InputError: a file is missing or broken, or they do not belong together; the weights are too large to ship.
    """
    record = read_threshold_record(weights)
    if not record:
        raise InputError(weights, expected="a score threshold recorded with the weights", found="none",
                         remedy="Choose it: nucleus train --eval-only --choose-threshold.")  # fmt: skip
    iteration = _iteration(weights)
    threshold = Threshold(record["value"], str(record.get("data set", "unknown")))
    scores = dict(map(read_evaluation, (test_scores, *other_scores)))
    _check_thresholds(scores, threshold, test_scores)
    cfg = standing_alone(trained_whole(runs), folder.name)
    stored = half_precision(read_weights(weights))
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / WEIGHTS, stored, record)
    size = (folder / WEIGHTS).stat().st_size
    if url is None and size > LARGEST_SHIPPED:
        raise InputError(weights, expected=f"weights of {LARGEST_SHIPPED} bytes at most, which ship",
                         found=f"{size} bytes", remedy="Put them where they can be fetched, and give --url.",
                         )  # fmt: skip
    with atomic_write(folder / CONFIG) as temporary:
        temporary.write_text(f"# The config of the model {folder.name}, complete.\n{cfg.dump()}", encoding="utf-8")
    return ZooModel(
        format=FORMAT,
        name=folder.name,
        summary=summary_of(cfg),
        weights=Weights(WEIGHTS if url is None else url.rpartition("/")[2], size, sha256_of(folder / WEIGHTS),
                        "float16", url),
        parameters=sum(value.numel() for name, value in stored.items() if not _is_statistic(name)),
        score_threshold=threshold,
        licence=Licence(WEIGHTS_LICENCE, data_licence or _data_licence(cfg.DATASETS.TRAIN)),
        trained_on=tuple(cfg.DATASETS.TRAIN),
        training=(*(one for run in runs[:-1] for one in _earlier(run)),
                  read_run(Path(runs[-1]), iteration)),
        scores=scores,
    )  # fmt: skip


def _earlier(run: Path | str) -> tuple[Run, ...]:
    """The runs of a model of the zoo, or that of a folder."""
    if isinstance(run, str) and run.startswith(SCHEME):
        return find_model(run.removeprefix(SCHEME)).training
    return (read_run(Path(run)),)


def trained_whole(runs: Sequence[Path | str]) -> CfgNode:
    """The config of the last run; how it trains is that of the last run that trained the whole model.

    Raises:
        InputError: there is no such run.
    """
    files = [config_file(str(run)) if str(run).startswith(SCHEME) else Path(run) / CONFIG for run in runs]
    configs = [load_config(file) for file in files]
    cfg, whole = configs[-1], [one for one in configs if not one.SOLVER.TRAIN_ONLY]
    if not whole:
        raise InputError(files[-1], expected="an earlier run, which trained the whole model",
                         found=f"SOLVER.TRAIN_ONLY {cfg.SOLVER.TRAIN_ONLY}", remedy="Name it: --after.")  # fmt: skip
    short_edge = cfg.INPUT.UPSCALE_SHORT_EDGE  # holds in prediction, too
    cfg.SOLVER, cfg.DATALOADER, cfg.INPUT = whole[-1].SOLVER, whole[-1].DATALOADER, whole[-1].INPUT
    cfg.INPUT.UPSCALE_SHORT_EDGE = short_edge
    for key in ("PRE_NMS_TOPK_TRAIN", "POST_NMS_TOPK_TRAIN"):
        cfg.MODEL.RPN[key] = whole[-1].MODEL.RPN[key]
    return cfg


def half_precision(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Matrices and filters in float16; norms, biases and what is not floating point as they are, being small.

    Raises:
        InputError: a number is not finite, or too large for float16.
    """
    stored = {
        name: (value.half() if value.ndim > 1 and value.is_floating_point() else value).contiguous()
        for name, value in state.items()
    }
    for name, value in stored.items():
        if not torch.isfinite(value).all():
            raise InputError(name, expected="numbers that float16 can hold", found=f"up to {state[name].abs().max()}")
    return stored


def write_weights(path: Path, state: dict[str, torch.Tensor], record: dict[str, Any]) -> None:
    """Write tensors with their score threshold; the same ones give the same bytes."""
    from safetensors.torch import save_file

    with atomic_write(path) as temporary:
        save_file(state, temporary, metadata={KEY: json.dumps(record, sort_keys=True)})


def standing_alone(cfg: CfgNode, name: str) -> CfgNode:
    """A config that points nowhere but to its own model.

    Its weights are nucleus://NAME, so that training with it goes on from them, and evaluation takes them.

    Raises:
        InputError: a value names a place on this machine.
    """
    cfg = cfg.clone()
    cfg.MODEL.WEIGHTS = f"{SCHEME}{name}"
    cfg.MODEL.TIMM.WEIGHTS = ""
    cfg.OUTPUT_DIR = f"output/zoo/{name}"  # not where a recipe of this name trains
    for key, value in _texts(cfg):
        if is_absolute(value):
            raise InputError(key, expected="nothing that points to one machine", found=value)
    return cfg


def summary_of(cfg: CfgNode) -> str:
    """What the model is, in a line."""
    timm = "timm" in cfg.MODEL.BACKBONE.NAME
    backbone = cfg.MODEL.TIMM.NAME if timm else f"ResNet-{cfg.MODEL.RESNETS.DEPTH}"
    scoring = " and mask scoring" if cfg.MODEL.ROI_MASK_HEAD.SCORING else ""
    return f"Mask R-CNN on {backbone} with a feature pyramid of {cfg.MODEL.FPN.OUT_CHANNELS} channels{scoring}"


def _is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def _iteration(weights: Path) -> int | None:
    """Of the step that a checkpoint was written after, where it says so."""
    if weights.suffix == ".safetensors":
        return None
    value = torch.load(weights, map_location="cpu", weights_only=True, mmap=True).get("iteration")
    return value if isinstance(value, int) else None


def _check_thresholds(scores: dict[str, Any], threshold: Threshold, path: Path) -> None:
    for name, evaluation in scores.items():
        if abs(evaluation.threshold - threshold.value) > 1e-9:
            raise InputError(path, expected=f"scores at the threshold recorded with the weights, {threshold.value:g}",
                             found=f"{evaluation.threshold:g} on {name}",
                             remedy="Evaluate these weights: nucleus train --eval-only.")  # fmt: skip


def _data_licence(data_sets: Sequence[str]) -> str:
    licences = []
    for data_set in data_sets:
        family = data_set.rpartition("_")[0]
        if family not in DATA_LICENCES:
            raise InputError(data_set, expected=f"data of {' or '.join(DATA_LICENCES)}, whose licence is known",
                             found="others", remedy="Say it: --data-licence.")  # fmt: skip
        licences.append(DATA_LICENCES[family])
    return "; ".join(dict.fromkeys(licences))


def _texts(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a config, by its key."""
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from _texts(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _texts(value, key)
