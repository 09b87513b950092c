"""Detectron2's .pkl files of weights, read without running what else a pickle could run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from nucleus.errors import InputError

# All that arrays, numbers and text need, under the names of NumPy 1 and 2.
ARRAYS = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"), ("collections", "OrderedDict")} | {
    (f"numpy.{core}.{module}", name)
    for core in ("core", "_core")
    for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"{module}.{name}, which could run code")
        return super().find_class(module, name)


def read_arrays(path: str | Path) -> dict[str, Any]:
    """Read a .pkl file that holds arrays, numbers, text, and lists and dicts of them.

    Raises:
        InputError: the file is broken or holds anything else.
    """
    try:
        with Path(path).open("rb") as file:
            content = _ArraysOnly(file, encoding="latin1").load()
    except Exception as error:  # unpickling fails in as many ways as there are broken files
        found = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise InputError(path, expected="weights as arrays", found=found,
                         remedy="Copy or download it again, or save its tensors as .safetensors.",
                         ) from error  # fmt: skip
    if not isinstance(content, dict):
        raise InputError(path, expected="a dict of arrays", found=type(content).__name__)
    return content
