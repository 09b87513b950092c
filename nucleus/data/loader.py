"""Training and test loaders: Detectron2's, with nucleus's mapper and sampling by modality."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, build_detection_train_loader, get_detection_dataset_dicts
from detectron2.data.samplers import RepeatFactorTrainingSampler, TrainingSampler

from nucleus.data.mapper import NucleusMapper


def build_train_loader(cfg: CfgNode) -> Any:
    """Endless batches of augmented crops for DATASETS.TRAIN.

    Images without nuclei are kept: they teach what is none. With DATALOADER.MODALITY_BALANCE above 0, images of rare
    modalities come more often.
    """
    records = get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=False)
    balance = cfg.DATALOADER.MODALITY_BALANCE
    sampler = (
        RepeatFactorTrainingSampler(modality_repeat_factors(records, balance), seed=_seed(cfg))
        if balance
        else TrainingSampler(len(records), seed=_seed(cfg))
    )
    return build_detection_train_loader(
        records,
        mapper=NucleusMapper(cfg, is_train=True),
        sampler=sampler,
        total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
        aspect_ratio_grouping=False,  # crops are square
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


def build_test_loader(cfg: CfgNode, dataset_name: str) -> Any:
    """Whole images of one data set, each once, in order."""
    return build_detection_test_loader(
        get_detection_dataset_dicts(dataset_name, filter_empty=False),
        mapper=NucleusMapper(cfg, is_train=False),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )


def modality_repeat_factors(records: list[dict[str, Any]], balance: float) -> torch.Tensor:
    """How often each image comes in an epoch, at least once.

    An image of a modality with n of N images gets a factor proportional to (1 / n) ** balance: 0 leaves the data as
    they are, 1 makes all modalities alike.

    Returns:
        float (N,), the smallest 1.
    """
    counts = Counter(record["modality"] for record in records)
    factors = torch.tensor([counts[record["modality"]] ** -balance for record in records])
    return factors / factors.min()


def _seed(cfg: CfgNode) -> int | None:
    return cfg.SEED if cfg.SEED >= 0 else None
