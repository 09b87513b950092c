from itertools import islice

import numpy as np
import torch

from nucleus.config import load_config
from nucleus.data.catalog import register
from nucleus.data.loader import build_test_loader, build_train_loader, modality_repeat_factors

QUICK = "configs/quick/mask_rcnn_lite0_FPN.yaml"


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
