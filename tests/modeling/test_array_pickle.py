import collections
import pickle

import numpy as np
import pytest

from nucleus.errors import InputError
from nucleus.modeling.array_pickle import read_arrays

CONTENT = {
    "model": collections.OrderedDict(a=np.arange(6, dtype=np.float32).reshape(2, 3), b=np.float32(2.5)),
    "__author__": "Detectron2 Model Zoo",
    "matching_heuristics": True,
}


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_text_and_numbers_come_back(tmp_path, protocol):
    (tmp_path / "w.pkl").write_bytes(pickle.dumps(CONTENT, protocol))
    found = read_arrays(tmp_path / "w.pkl")
    assert {key: found[key] for key in ("__author__", "matching_heuristics")} == {
        "__author__": "Detectron2 Model Zoo", "matching_heuristics": True,
    }  # fmt: skip
    np.testing.assert_array_equal(found["model"]["a"], [[0, 1, 2], [3, 4, 5]])
    assert found["model"]["b"] == 2.5


def test_a_file_of_python_2_and_numpy_1(tmp_path):
    """As the ImageNet weights of 2018 are: text of 8 bits, and numpy.core in the names."""
    written = pickle.dumps({"conv1_w": np.ones((2, 2), np.float32)}, 2).replace(b"numpy._core", b"numpy.core")
    assert b"numpy.core" in written and b"numpy._core" not in written
    (tmp_path / "w.pkl").write_bytes(written)
    np.testing.assert_array_equal(read_arrays(tmp_path / "w.pkl")["conv1_w"], np.ones((2, 2)))


def test_code_is_not_run_and_broken_files_are_errors(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path.joinpath("witness").touch, ())

    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"model": Evil()}))
    (tmp_path / "half.pkl").write_bytes(pickle.dumps(CONTENT)[:50])
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    for name, found in {"evil": "which could run code", "half": "", "list": "found list", "no": "No such file"}.items():
        with pytest.raises(InputError, match=rf"{name}\.pkl: expected .*{found}"):
            read_arrays(tmp_path / f"{name}.pkl")
    assert not (tmp_path / "witness").exists()
