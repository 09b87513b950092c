from itertools import islice

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks
from PIL import Image

from nucleus.config import load_config
from nucleus.data.catalog import load_records, register
from nucleus.data.image_cache import file_version
from nucleus.data.label_masks import LabelMasks
from nucleus.data.loader import PositionedSamples, build_test_loader, build_train_loader, modality_repeat_factors
from nucleus.data.mapper import NucleusMapper
from nucleus.errors import InputError

QUICK = "configs/quick/mask_rcnn_lite0_FPN.yaml"


def plain_mapper(pytestconfig):
    """Of the quick config, with nothing left to chance."""
    settings = NucleusMapper.from_config(load_config(pytestconfig.rootpath / QUICK))
    settings |= {"short_edge": 0, "scale_range": (1.0, 1.0), "flip_and_turn": False, "photometric": {}}
    return NucleusMapper(**settings)


def test_balance_weighs_modalities_by_their_number():
    records = [{"modality": "a"}] * 8 + [{"modality": "b"}] * 2
    assert modality_repeat_factors(records, 0.0).tolist() == [1.0] * 10
    assert modality_repeat_factors(records, 1.0).tolist() == [1.0] * 8 + [4.0] * 2
    assert torch.allclose(modality_repeat_factors(records, 0.5), torch.tensor([1.0] * 8 + [2.0] * 2))


def test_training_batches_keep_images_without_nuclei_and_repeat_with_the_seed(two_images, pytestconfig):
    json_file, root, _ = two_images
    register("two_images", json_file, root)
    overrides = ["DATASETS.TRAIN", "('two_images',)", "DATALOADER.NUM_WORKERS", "0", "SOLVER.IMS_PER_BATCH", "2"]
    cfg = load_config(pytestconfig.rootpath / QUICK, overrides)

    def first_ids():
        batches = iter(build_train_loader(cfg))
        return [sample["image_id"] for _ in range(4) for sample in next(batches)]

    ids = first_ids()
    assert set(ids) == {7, 9}
    assert ids == first_ids()


def test_samples_depend_on_their_position_and_not_on_workers_or_on_what_came_before(two_images, pytestconfig):
    json_file, root, _ = two_images
    register("two_images", json_file, root)
    overrides = ["DATASETS.TRAIN", "('two_images',)", "SOLVER.IMS_PER_BATCH", "2", "SEED", "3"]

    def images(workers, start, count):
        cfg = load_config(pytestconfig.rootpath / QUICK, [*overrides, "DATALOADER.NUM_WORKERS", str(workers)])
        loader = build_train_loader(cfg)
        loader.batch_sampler.start = start
        return [sample["image"] for batch in islice(loader, count) for sample in batch]

    whole = images(0, 0, 6)
    np.random.seed(5)
    torch.manual_seed(5)
    for others, expected in ((images(0, 4, 2), whole[8:]), (images(2, 1, 5), whole[2:])):
        assert all(torch.equal(a, b) for a, b in zip(others, expected, strict=True))


def test_test_batches_hold_every_image_once_in_order(two_images, pytestconfig):
    json_file, root, _ = two_images
    register("two_images", json_file, root)
    cfg = load_config(pytestconfig.rootpath / QUICK, ["DATALOADER.NUM_WORKERS", "0"])
    assert [batch[0]["image_id"] for batch in build_test_loader(cfg, "two_images")] == [7, 9]


def test_starting_a_loader_leaves_the_random_numbers_of_the_model_alone(two_images, pytestconfig):
    json_file, root, _ = two_images
    register("two_images", json_file, root)
    overrides = ["DATASETS.TRAIN", "('two_images',)", "DATALOADER.NUM_WORKERS", "0"]
    cfg = load_config(pytestconfig.rootpath / QUICK, overrides)
    before = torch.get_rng_state()
    next(iter(build_train_loader(cfg)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_are_the_same_from_the_cache(two_images, pytestconfig, workers):
    json_file, root, _ = two_images
    register("two_images", json_file, root)
    overrides = ["DATASETS.TRAIN", "('two_images',)", "SOLVER.IMS_PER_BATCH", "2", "SEED", "3"]

    def samples(mib):
        cfg = load_config(
            pytestconfig.rootpath / QUICK, [*overrides, "DATALOADER.NUM_WORKERS", workers, "DATALOADER.CACHE_MIB", mib]
        )
        loader = build_train_loader(cfg)
        return loader.dataset.cache, [sample for batch in islice(loader, 6) for sample in batch]

    (empty, expected), (full, found) = samples(0), samples(1)
    assert (empty.places, full.places) == (0, 2)
    for index, name in enumerate(("one.png", "two.png")):
        assert full.get(index, file_version(root / name)) is not None
    for one, other in zip(expected, found, strict=True):
        assert one.keys() == other.keys() and one["image_id"] == other["image_id"]
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["instances"].gt_masks.tensor, other["instances"].gt_masks.tensor)
        assert torch.equal(one["instances"].gt_boxes.tensor, other["instances"].gt_boxes.tensor)


def test_an_image_that_is_written_again_is_read_again(two_images, pytestconfig):
    json_file, root, _ = two_images
    samples = PositionedSamples(load_records(json_file, root), plain_mapper(pytestconfig), seed=0, cache_bytes=10**6)
    before = samples[0, 0]["image"]
    assert torch.equal(samples[0, 0]["image"], before)
    pixels = np.asarray(Image.open(root / "one.png"))
    Image.fromarray(255 - pixels).save(root / "one.png")
    assert torch.equal(samples[0, 0]["image"], 255 - before)
    (root / "one.png").unlink()
    with pytest.raises(InputError, match=r"one\.png"):
        samples[0, 0]


def test_images_with_overlapping_masks_are_named_and_counted_once(two_images, pytestconfig, caplog):
    json_file, root, _ = two_images
    records = load_records(json_file, root)
    records[0]["rles"] *= 2
    samples = PositionedSamples(records, plain_mapper(pytestconfig), seed=0, cache_bytes=10**6)
    for position in range(3):
        assert isinstance(samples[0, position]["instances"].gt_masks, BitMasks)
        assert isinstance(samples[1, position]["instances"].gt_masks, LabelMasks)
    assert len(samples[0, 0]["instances"]) == 4
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert "one.png" in warning and "1 such images" in warning
