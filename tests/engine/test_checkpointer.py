import pytest
import torch
from torch import nn

from nucleus.engine.checkpointer import NucleusCheckpointer
from nucleus.errors import InputError


class Unwritable(nn.Linear):
    """Its state cannot be written: the write breaks off half-way."""

    def state_dict(self, *args, **kwargs):
        return super().state_dict(*args, **kwargs) | {"late": (value for value in ())}


def test_a_checkpoint_comes_back(tmp_path):
    model = nn.Linear(2, 1)
    NucleusCheckpointer(model, str(tmp_path)).save("model_0000004", iteration=4)
    other = nn.Linear(2, 1)
    extra = NucleusCheckpointer(other, str(tmp_path)).resume_or_load("")
    assert torch.equal(model.weight, other.weight) and extra["iteration"] == 4


def test_a_save_that_breaks_off_leaves_the_checkpoint_before(tmp_path):
    good = NucleusCheckpointer(nn.Linear(2, 1), str(tmp_path))
    good.save("model_final")
    before = (tmp_path / "model_final.pth").read_bytes()
    with pytest.raises(TypeError):
        NucleusCheckpointer(Unwritable(2, 1), str(tmp_path)).save("model_final")
    with pytest.raises(TypeError):
        NucleusCheckpointer(Unwritable(2, 1), str(tmp_path)).save("model_0000009")
    assert (tmp_path / "model_final.pth").read_bytes() == before
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    assert {path.name for path in tmp_path.iterdir()} == {"model_final.pth", "last_checkpoint"}


def test_what_a_kill_left_of_a_save_is_removed(tmp_path):
    (tmp_path / ".model_final-abc.tmp.pth").write_bytes(b"half")
    NucleusCheckpointer(nn.Linear(2, 1), str(tmp_path)).resume_or_load("")
    assert list(tmp_path.iterdir()) == []


def test_the_best_checkpoint_is_not_the_one_to_go_on_from(tmp_path):
    checkpointer = NucleusCheckpointer(nn.Linear(2, 1), str(tmp_path))
    checkpointer.save("model_0000001")
    checkpointer.save("model_best", last=False)
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000001.pth"


def test_checkpoints_that_run_code_or_are_broken_or_missing_are_errors(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("witness").touch, ())

    checkpointer = NucleusCheckpointer(nn.Linear(2, 1), str(tmp_path))
    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "half.pth").write_bytes((tmp_path / "evil.pth").read_bytes()[:100])
    for name in ("evil", "half", "missing"):
        (tmp_path / "last_checkpoint").write_text(f"{name}.pth")
        with pytest.raises(InputError, match=f"{name}.pth.*last_checkpoint|last_checkpoint.*{name}.pth"):
            NucleusCheckpointer(nn.Linear(2, 1), str(tmp_path)).resume_or_load("")
    assert not (tmp_path / "witness").exists()
    with pytest.raises(InputError, match=r"MODEL\.WEIGHTS.*nowhere"):
        checkpointer.resume_or_load(str(tmp_path / "nowhere.pth"), resume=False)
