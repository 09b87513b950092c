"""The validation split: share, strata, whole groups, and that it never changes."""

from collections import Counter

import pytest

from nucleus.data.splits import VALIDATION_SHARE, validation_groups


def test_about_fifteen_per_cent_of_each_stratum():
    groups = [f"{modality}{i}" for modality in "ab" for i in range(100)]
    modalities = [group[0] for group in groups]
    chosen = validation_groups(groups, modalities)
    assert Counter(group[0] for group in chosen) == {"a": 15, "b": 15}


def test_a_group_is_never_split_and_belongs_to_its_commonest_modality():
    groups = ["g"] * 3 + [f"x{i}" for i in range(20)]
    modalities = ["b", "b", "a"] + ["b"] * 20
    chosen = validation_groups(groups, modalities)
    images = [group for group in groups if group in chosen]
    assert len(images) == round(VALIDATION_SHARE * 23)  # "g" counts as three of 23 images of "b"


def test_a_group_too_large_for_the_share_is_passed_over():
    assert validation_groups(["only"] * 4, ["a"] * 4) == set()
    groups = ["large"] * 80 + [f"s{i}" for i in range(20)]
    chosen = validation_groups(groups, ["a"] * 100)
    assert "large" not in chosen and len(chosen) == 15


def test_the_order_of_the_images_does_not_matter():
    groups = [f"g{i // 3}" for i in range(120)]
    modalities = [f"m{i % 2}" for i in range(120)]
    backwards = validation_groups(groups[::-1], modalities[::-1])
    assert validation_groups(groups, modalities) == backwards


def test_the_split_is_fixed():
    groups = [f"group {i}" for i in range(20)]
    assert validation_groups(groups, ["a"] * 20) == {"group 5", "group 12", "group 17"}


def test_without_images_there_is_nothing_to_choose():
    assert validation_groups([], []) == set()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_images_are_all_trained_on(count):
    assert validation_groups([str(i) for i in range(count)], ["a"] * count) == set()
