"""Install Detectron2 without a compiler, and without touching one that is there: python -m nucleus.install_detectron2

Detectron2 is on no package index under its own name, and its last release is of 2021. The wheel `sal-detectron2`
0.7.2 holds its sources at commit a59f0563 (2024-04-17), but for the version and one line that upstream changed later.
It says, however, that it fits Python 3.10 only, names requirements that are not true, and carries an extension `_C` for
one build of torch. This tool fetches that wheel, checks its sha256 and repacks it as
`detectron2-0.6+a59f0563-py3-none-any.whl`, for every Python. What is changed against that wheel:

- `detectron2/_C*.so` is left out. Rotated boxes, deformable convolutions and the C++ loop of the COCO evaluator need
  it; no part of Mask R-CNN does.
- The top-level package `tools` is left out: it is scripts, and would take the name `tools` from every project.
- `detectron2/__init__.py` says version 0.6 again, as upstream does at that commit, and names this change.
- The metadata have the true name, version and requirements. The licence (Apache-2.0) stays beside them.

Both wheels are kept (see `wheels_folder`), so that the next installation needs no network; either of the two suffices.
The entries of the repacked one are not compressed, so that its bytes, and its sha256 below, are the same on every
machine. All of this is one module, without imports of others: it runs before anything else is installed.

A source build of upstream does as well, where there is a compiler; this tool then finds it and leaves it alone:

    python -m pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import csv
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

SOURCE = "sal-detectron2==0.7.2"
SOURCE_NAME = "sal_detectron2-0.7.2-cp310-none-any.whl"
SOURCE_SHA256 = "491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561"
SOURCE_INFO = "sal_detectron2-0.7.2.dist-info"

VERSION = "0.6+a59f0563"
WHEEL_NAME = f"detectron2-{VERSION}-py3-none-any.whl"
WHEEL_SHA256 = "26424fed43d0b67e369626a7eedf83980052369cc28aa86e05144e160c4b0792"
WHEEL_INFO = f"detectron2-{VERSION}.dist-info"

UPSTREAM_BUILD = "python -m pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'"

# The interpreter and platform that the tags of the source wheel admit, whatever the running one is.
DOWNLOAD_TAGS = ["--python-version", "3.10", "--implementation", "cp", "--abi", "none", "--platform", "any"]

VERSION_LINE = b'__version__ = "0.7.2"'
VERSION_LINE_REPACKED = (
    b"# Changed by the nucleus project: the version is upstream's again (the wheel sal-detectron2 says 0.7.2).\n"
    b'__version__ = "0.6"'
)

# What its modules import. Upstream leaves torch and torchvision out, so as not to choose a build. cv2 is not named,
# since four distributions bring it; nor is black, which only tidies what LazyConfig writes, and is optional there.
REQUIREMENTS = (
    "torch>=1.8",
    "torchvision>=0.9",
    "numpy",
    "Pillow>=7.1",
    "matplotlib",
    "pycocotools>=2.0.2",
    "termcolor>=1.1",
    "yacs>=0.1.8",
    "tabulate",
    "cloudpickle",
    "tqdm>4.29.0",
    "tensorboard",
    "fvcore>=0.1.5",
    "iopath>=0.1.7",
    "omegaconf>=2.1,<2.4",
    "hydra-core>=1.1",
    "packaging",
    "setuptools<81",  # for pkg_resources, in detectron2/model_zoo
)

METADATA = f"""\
Metadata-Version: 2.1
Name: detectron2
Version: {VERSION}
Summary: Detectron2 at commit a59f0563, pure Python: the sources of {SOURCE} repacked by the nucleus project.
Home-page: https://github.com/facebookresearch/detectron2
Author: FAIR
License: Apache-2.0
License-File: LICENSE
Requires-Python: >=3.8
""" + "".join(f"Requires-Dist: {requirement}\n" for requirement in REQUIREMENTS)

WHEEL = """\
Wheel-Version: 1.0
Generator: nucleus install_detectron2
Root-Is-Purelib: true
Tag: py3-none-any
"""


class InstallError(RuntimeError):
    """Detectron2 could not be installed; the message says why and what to do."""


def main() -> int:
    """Install Detectron2 into the environment of the running interpreter; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel-only", action="store_true", help="make and keep the wheel, install nothing")
    arguments = parser.parse_args()
    try:
        if arguments.wheel_only:
            print(kept_wheel(wheels_folder()))
        else:
            install()
    except InstallError as error:
        print(f"install_detectron2: {error}", file=sys.stderr)
        return 1
    return 0


def install() -> None:
    """Install the wheel where no detectron2 is found, and check that the result imports with its requirements met.

    Raises:
        InstallError: detectron2 is there but broken, or cannot be fetched, or does not work once installed.
    """
    found = installed()
    if found:
        print(f"Detectron2 is there already and stays as it is: {found}")
        return
    wheel = kept_wheel(wheels_folder())
    _pip("install", "--no-deps", "--no-index", str(wheel), remedy=f"Or build upstream's sources: {UPSTREAM_BUILD}")
    unmet = [line for line in _pip_check() if line.startswith("detectron2 ")]
    if unmet:
        listing = "\n  ".join(["Detectron2 is installed, but its requirements are not met:", *unmet])
        raise InstallError(f"{listing}\nInstall them with: python -m pip install -r requirements/lock.txt")
    print(f"Installed Detectron2: {installed()}")


def installed() -> str | None:
    """Version and place of the detectron2 that this interpreter imports, or None where there is none.

    Raises:
        InstallError: there is one, but importing it fails.
    """
    report = (
        "import importlib.util as u, sys\n"
        "spec = u.find_spec('detectron2')\n"
        # A folder that merely has the name, such as a clone beside the caller, is a namespace package without origin.
        "if spec is None or spec.origin is None: sys.exit()\n"
        "print('at', spec.origin, flush=True)\n"
        "import detectron2\n"
        "import detectron2.modeling\n"
        "print(detectron2.__version__, 'in', spec.submodule_search_locations[0])\n"
    )
    # Not in the current folder, which "python -c" puts on the path.
    with tempfile.TemporaryDirectory() as elsewhere:
        result = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, cwd=elsewhere)
    lines = result.stdout.splitlines()
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise InstallError(
            f"expected a Detectron2 that imports, found one {lines[0] if lines else ''} that does not: {reason}\n"
            "Install what it lacks (python -m pip install -r requirements/lock.txt), or remove it "
            "(python -m pip uninstall detectron2) and run this again."
        )
    return lines[-1] if lines else None


def wheels_folder() -> Path:
    """Where the wheel is kept: $NUCLEUS_WHEELS; else `.wheels` in a clone; else, of an installed nucleus, the cache."""
    if named := os.environ.get("NUCLEUS_WHEELS"):
        return Path(named)
    above = Path(__file__).resolve().parents[1]
    if (above / "pyproject.toml").is_file():
        return above / ".wheels"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nucleus" / "wheels"


def kept_wheel(folder: Path) -> Path:
    """The repacked wheel in `folder`: as kept there, or made from the source wheel found there, or fetched.

    A kept wheel whose bytes are not the expected ones is made again.

    Raises:
        InstallError: the source wheel cannot be fetched, or is not the expected one, or `folder` cannot be written.
    """
    kept = folder / WHEEL_NAME
    if kept.is_file() and _sha256(kept.read_bytes()) == WHEEL_SHA256:
        print(f"Using the kept wheel {kept}", flush=True)
        return kept
    source = folder / SOURCE_NAME
    if source.is_file():
        print(f"Repacking {source}", flush=True)
        content = source.read_bytes()
    else:
        print(f"Fetching {SOURCE}", flush=True)
        content = fetch()
    wheel = repack(content)
    if _sha256(wheel) != WHEEL_SHA256:
        raise InstallError(f"expected sha256 {WHEEL_SHA256} of the repacked wheel, found {_sha256(wheel)}: report this")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not source.is_file():
            _write_atomically(source, content)
        _write_atomically(kept, wheel)
    except OSError as error:
        raise InstallError(
            f"{folder} cannot be written: {error}. Set NUCLEUS_WHEELS to a folder that can be written."
        ) from error
    return kept


def fetch() -> bytes:
    """The source wheel, from the index that pip is set up for.

    Raises:
        InstallError: pip could not fetch it.
    """
    remedy = (
        f"Without a network: put {SOURCE_NAME} or {WHEEL_NAME} from a machine that has it into {wheels_folder()} "
        f"and run this again. Where there is a compiler, build upstream's sources: {UPSTREAM_BUILD}"
    )
    with tempfile.TemporaryDirectory() as folder:
        options = ["--no-deps", "--only-binary=:all:", *DOWNLOAD_TAGS, "--dest", folder]
        _pip("download", *options, SOURCE, remedy=remedy)
        return (Path(folder) / SOURCE_NAME).read_bytes()


def repack(source: bytes) -> bytes:
    """The pure-Python wheel made of the source wheel; the same bytes on every machine.

    Args:
        source: the bytes of the wheel `sal-detectron2` 0.7.2.

    Raises:
        InstallError: it is not that wheel.
    """
    if _sha256(source) != SOURCE_SHA256:
        raise InstallError(
            f"expected sha256 {SOURCE_SHA256} of {SOURCE_NAME}, found {_sha256(source)}. Nothing was installed: the "
            "file is damaged or is another. Delete it, where you put it there yourself, and run this again."
        )
    with zipfile.ZipFile(io.BytesIO(source)) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if _belongs(name)}
        files[f"{WHEEL_INFO}/LICENSE"] = archive.read(f"{SOURCE_INFO}/LICENSE")
    init = files["detectron2/__init__.py"]
    files["detectron2/__init__.py"] = init.replace(VERSION_LINE, VERSION_LINE_REPACKED)
    files[f"{WHEEL_INFO}/METADATA"] = METADATA.encode()
    files[f"{WHEEL_INFO}/WHEEL"] = WHEEL.encode()
    files[f"{WHEEL_INFO}/top_level.txt"] = b"detectron2\n"
    files[f"{WHEEL_INFO}/RECORD"] = _record(files)

    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, whatever this machine is
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return wheel.getvalue()


def _belongs(name: str) -> bool:
    """Whether an entry of the source wheel goes into the repacked one as it is."""
    return name.startswith("detectron2/") and not name.startswith("detectron2/_C.")


def _record(files: dict[str, bytes]) -> bytes:
    """The RECORD of a wheel with these files (the packaging guide, "Recording installed projects")."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.writerow([name, f"sha256={digest}", len(content)])
    rows.writerow([f"{WHEEL_INFO}/RECORD", "", ""])
    return text.getvalue().encode()


def _write_atomically(path: Path, content: bytes) -> None:
    """Write `path` so that a killed run leaves no half of it."""
    handle, name = tempfile.mkstemp(prefix=".part-", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        part.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _pip(*arguments: str, remedy: str) -> None:
    """Run pip of this interpreter; its own output goes to the terminal."""
    result = subprocess.run([sys.executable, "-m", "pip", *arguments])
    if result.returncode != 0:
        raise InstallError(f"pip {arguments[0]} ended with {result.returncode}; its reason stands above. {remedy}")


def _pip_check() -> list[str]:
    """What `pip check` complains about, a line for each unmet requirement."""
    result = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    return [] if result.returncode == 0 else result.stdout.splitlines()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
