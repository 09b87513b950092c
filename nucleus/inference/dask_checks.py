"""Whether a Dask worker fits a run: the same packages, and the same output folder."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Mapping
from importlib import metadata

import nucleus
from nucleus.errors import InputError
from nucleus.inference.output_folder import Output

TOKEN = "token"  # in the hidden folder of the output
TOKEN_WAITS = (0.0, 0.5, 2.5)  # seconds; a network file system may show a new file late
SAME = "Install the same environment on all machines."
PACKAGES = ("dask", "distributed", "torch", "torchvision", "detectron2", "timm", "numpy", "scipy", "scikit-image",
            "opencv-python-headless", "Pillow", "tifffile", "imagecodecs")  # fmt: skip


def check_worker(expected: Mapping[str, str], output: Output, token: str) -> None:
    """See that this process has the packages of the run and sees its output folder.

    Args:
        expected: versions of the packages of the run.
        output: with an absolute folder.
        token: what the token file in the output folder holds.

    Raises:
        InputError: it does not.
    """
    here = versions()
    differing = [name for name in expected if here.get(name) != expected[name]]
    if differing:
        raise InputError(f"the Dask worker on {platform.node()}",
                         expected="the versions of the run, " + listed(differing, expected),
                         found=listed(differing, here), remedy=SAME)  # fmt: skip
    path = output.hidden / TOKEN
    for wait in TOKEN_WAITS:
        time.sleep(wait)
        try:
            if path.read_text(encoding="utf-8") == token:
                return
        except OSError:
            continue
    raise InputError(output.folder, expected=f"the output folder, seen by the Dask worker on {platform.node()}",
                     found="that it is not there, or is another one",
                     remedy="Use a folder that all machines share, under the same path.")  # fmt: skip


def versions() -> dict[str, str]:
    """Of Python, of nucleus, and of what the numbers depend on; without what a build adds, such as +cu128."""
    found = {"python": ".".join(platform.python_version_tuple()[:2]), "nucleus": nucleus.__version__}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            continue
    return found


def listed(names: Iterable[str], known: Mapping[str, str]) -> str:
    """Packages with their versions, for an error."""
    return ", ".join(f"{name} {known.get(name, 'missing')}" for name in names)
