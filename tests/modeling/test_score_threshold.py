import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from nucleus.errors import InputError
from nucleus.modeling.pretrained import read_weights
from nucleus.modeling.score_threshold import read_score_threshold, read_threshold_record, record_score_threshold

WEIGHTS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}
RECORD = {"value": 0.74, "data set": "mine_val", "iteration": 799}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("checkpoint.pth", {"model": WEIGHTS, "iteration": 799}),
        ("with_another.pth", {"model": WEIGHTS, "iteration": 799, "score_threshold": {"value": 0.1}}),
        ("bare.pt", WEIGHTS),
        ("weights.safetensors", WEIGHTS),
    ],
)
def test_what_is_recorded_is_read_and_nothing_else_changes(tmp_path, name, content):
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file(content, path, metadata={"format": "pt"})
    else:
        torch.save(content, path)
    before = read_score_threshold(path)
    assert before == (0.1 if name == "with_another.pth" else None)
    record_score_threshold(path, RECORD)
    assert read_score_threshold(path) == 0.74
    assert read_threshold_record(path) == RECORD
    assert all(torch.equal(value, WEIGHTS[key]) for key, value in read_weights(path).items())
    if path.suffix == ".safetensors":
        assert load_file(path).keys() == WEIGHTS.keys()
        with safe_open(path, framework="pt") as file:
            assert file.metadata()["format"] == "pt"
    elif name != "bare.pt":
        assert torch.load(path, weights_only=True)["iteration"] == 799
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_an_old_format_and_an_empty_record(tmp_path):
    torch.save({"model": WEIGHTS}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"model": WEIGHTS, "score_threshold": {}}, tmp_path / "empty.pth")
    assert read_score_threshold(tmp_path / "old.pth") is None
    assert read_score_threshold(tmp_path / "empty.pth") is None


def test_other_files_and_addresses_have_none(tmp_path):
    assert read_score_threshold("detectron2://ImageNetPretrained/MSRA/R-50.pkl") is None
    with pytest.raises(InputError, match=r"\.pkl"):
        record_score_threshold(tmp_path / "weights.pkl", RECORD)


@pytest.mark.parametrize("value", [1.5, -0.1, "high", float("nan"), {"value": None}])
def test_what_is_no_threshold_is_an_error(tmp_path, value):
    torch.save({"model": WEIGHTS, "score_threshold": value}, tmp_path / "wrong.pth")
    with pytest.raises(InputError, match=r"wrong\.pth: expected a score threshold from 0 to 1.*--choose-threshold"):
        read_score_threshold(tmp_path / "wrong.pth")


def test_a_broken_file_is_an_error_and_stays_as_it_is(tmp_path):
    for name in ("broken.pth", "broken.safetensors", "missing.pth"):
        path = tmp_path / name
        if "missing" not in name:
            path.write_bytes(b"no weights")
        with pytest.raises(InputError, match=name):
            record_score_threshold(path, RECORD)
    assert (tmp_path / "broken.pth").read_bytes() == b"no weights"


class Witness:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_no_code_in_the_file_is_run(tmp_path):
    torch.save({"score_threshold": Witness(tmp_path / "witness")}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match=r"evil\.pth"):
        read_score_threshold(tmp_path / "evil.pth")
    assert not (tmp_path / "witness").exists()
