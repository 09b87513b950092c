import zipfile

import pytest
import timm
import torch
from skimage.data import chelsea, coffee
from skimage.transform import resize

from nucleus.errors import InputError
from nucleus.modeling.pretrained import PACKAGED, packaged_imagenet_weights, read_weights

CATS, CUPS = {281, 282, 285}, {967, 968}  # ImageNet: tabby, tiger cat, Egyptian cat; espresso, cup


@pytest.mark.parametrize("name", PACKAGED)
def test_the_packaged_weights_know_a_cat_and_an_espresso(name):
    network = timm.create_model(name).eval()
    network.load_state_dict(packaged_imagenet_weights(name), strict=False)
    for picture, classes in ((chelsea(), CATS), (coffee(), CUPS)):
        pixels = torch.from_numpy(resize(picture, (260, 260)) * 255).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            assert int(network((pixels - 127) / 128).argmax()) in classes


def test_a_model_without_a_package_lists_those_that_have_one():
    with pytest.raises(InputError, match="tf_efficientnet_lite0"):
        packaged_imagenet_weights("resnet18")


class Malice:
    """Unpickles into a call."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return (open, (str(self.witness), "w"))


def test_reading_weights_runs_no_code(tmp_path):
    torch.save({"a": Malice(tmp_path / "witness")}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match=r"evil\.pth"):
        read_weights(tmp_path / "evil.pth")
    assert not (tmp_path / "witness").exists()


def test_weights_that_unpack_to_more_than_the_file_are_refused(tmp_path):
    torch.save({"a": torch.zeros(1 << 20)}, tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(tmp_path / "bomb.pth", "w") as bomb:
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name), zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.pth").stat().st_size < 20_000
    with pytest.raises(InputError, match=r"bomb\.pth: .*compressed"):
        read_weights(tmp_path / "bomb.pth")


def test_names_of_tensors_are_texts(tmp_path):
    torch.save({3: torch.ones(2)}, tmp_path / "numbers.pth")
    with pytest.raises(InputError, match="state dict"):
        read_weights(tmp_path / "numbers.pth")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_broken_weights_are_named(tmp_path, content, suffix):
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"broken.{suffix}"):
        read_weights(path)


def test_wrapped_state_dicts_are_unwrapped(tmp_path):
    torch.save({"model": {"a": torch.ones(2)}, "epoch": 3}, tmp_path / "wrapped.pth")
    assert read_weights(tmp_path / "wrapped.pth")["a"].tolist() == [1, 1]
