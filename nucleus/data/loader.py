"""Training and test loaders: shuffled by modality and seed, and read by nucleus's mapper."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, build_detection_test_loader, get_detection_dataset_dicts
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset

from nucleus.data.decoded import TOLERATED_LOSS, Decoded, decode
from nucleus.data.image_cache import ImageCache, file_version
from nucleus.data.mapper import NucleusMapper
from nucleus.data.stream import AUGMENTATION, Sample, TrainingStream, random_source
from nucleus.data.worker_signals import outlive_sigterm
from nucleus.errors import InputError

logger = logging.getLogger(__name__)


class PositionedSamples(Dataset):
    """Records by index and position in the stream; the position alone decides on the augmentation.

    Args:
        records: of the catalog.
        mapper: turns a record and a random generator into what the network takes.
        seed: of the run.
        cache_bytes: of decoded images that are kept for all processes of the run.
    """

    def __init__(self, records: list[dict[str, Any]], mapper: NucleusMapper, seed: int, cache_bytes: int = 0) -> None:
        # Serialized, so that workers share the memory; the masks by themselves, since they are seldom needed.
        light = [{key: value for key, value in record.items() if key != "rles"} for record in records]
        self.records = DatasetFromList(light, copy=False)
        self.rles = DatasetFromList([record["rles"] for record in records], copy=False)
        self.mapper = mapper
        self.seed = seed
        sizes = [(record["height"], record["width"], len(record["rles"])) for record in records]
        self.cache = ImageCache(sizes, cache_bytes)

    def __getitem__(self, sample: Sample) -> dict[str, Any]:
        index, position = sample
        record = self.records[index]
        return self.mapper.train(record, self._decoded(index, record), random_source(self.seed, AUGMENTATION, position))

    def _decoded(self, index: int, record: dict[str, Any]) -> Decoded:
        version = file_version(record["file_name"])
        decoded = self.cache.get(index, version)
        if decoded is None:
            decoded = decode(record | {"rles": self.rles[index]})
            self.cache.put(index, version, decoded)
            if len(decoded.layers) > 1 and self.cache.note_overlap(index):
                logger.warning(
                    "%s: masks overlap by more than %d %% of one; they go full size through training, which is slow "
                    "(%d such images so far)",
                    record["file_name"],
                    100 * TOLERATED_LOSS,
                    self.cache.overlapping,
                )
        return decoded


def build_train_loader(cfg: CfgNode) -> DataLoader:
    """Endless batches of augmented crops for DATASETS.TRAIN: this process's part of SOLVER.IMS_PER_BATCH.

    Images without nuclei are kept: they teach what is none. With DATALOADER.MODALITY_BALANCE above 0, images of rare
    modalities come more often. What comes when depends on SEED and the position alone, not on the number of workers;
    a resumed run sets `batch_sampler.start`.

    Raises:
        InputError: the batch cannot be split among the processes.
    """
    if cfg.SOLVER.IMS_PER_BATCH % comm.get_world_size():
        raise InputError(
            "SOLVER.IMS_PER_BATCH",
            expected=f"a multiple of the {comm.get_world_size()} processes",
            found=str(cfg.SOLVER.IMS_PER_BATCH),
        )
    records = get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=False)
    seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
    factors = modality_repeat_factors(records, cfg.DATALOADER.MODALITY_BALANCE)
    samples = PositionedSamples(records, NucleusMapper(cfg, is_train=True), seed, cfg.DATALOADER.CACHE_MIB * 2**20)
    _share_among_processes(samples.cache)
    logger.info("%d of %d images are kept in memory once decoded", samples.cache.places, len(records))
    return DataLoader(
        samples,
        batch_sampler=TrainingStream(
            factors.numpy(), cfg.SOLVER.IMS_PER_BATCH, seed, comm.get_rank(), comm.get_world_size()
        ),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_as_list,
        worker_init_fn=outlive_sigterm,
        generator=torch.Generator(),  # a loader that starts draws a number; not from the generator that the model uses
    )


def build_test_loader(cfg: CfgNode, dataset_name: str) -> DataLoader:
    """Whole images of one data set, each once, in order."""
    loader = build_detection_test_loader(
        get_detection_dataset_dicts(dataset_name, filter_empty=False),
        mapper=NucleusMapper(cfg, is_train=False),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )
    loader.worker_init_fn = outlive_sigterm  # which Detectron2's function does not take
    return loader


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


def _share_among_processes(cache: ImageCache) -> None:
    """Let the processes of the run that are on one machine use one memory, that of the first of them."""
    if comm.get_world_size() > 1:
        places = comm.all_gather(cache.place())
        if comm.get_local_rank() > 0:
            cache.share(places[comm.get_rank() - comm.get_local_rank()])
        comm.synchronize()  # the first must not end before the others have opened its memory


def _as_list(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return batch
