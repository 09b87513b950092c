"""The data sets that `nucleus convert` made: `registry.json` in the data root, a COCO file and an image folder each."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from nucleus.data.lock import only_writer
from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write

REGISTRY = "registry.json"
BUILT_IN = ("bbbc038", "bbbc038_synthetic")  # folders of the data root; both have BBBC038's layout
SPLITS = ("train", "val", "trainval", "test")
RESERVED = re.compile(f"({'|'.join(BUILT_IN)})_({'|'.join(SPLITS)})")  # registered without being listed
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Entry:
    """A registered data set.

    Attributes:
        json_file: its COCO file.
        image_root: the folder that the file names in it are relative to.
    """

    json_file: Path
    image_root: Path


def read_registry(root: str | Path) -> dict[str, Entry]:
    """Read the registry of a data root; a root without one has no entries.

    Args:
        root: the data root, `$DETECTRON2_DATASETS`.

    Returns:
        Entries by name, ascending. Relative paths in the file count from the data root.

    Raises:
        InputError: the file is no registry.
    """
    folder = Path(root)
    return {
        name: Entry(folder / entry["json_file"], folder / entry["image_root"])
        for name, entry in sorted(_read(folder / REGISTRY).items())
    }


def _read(path: Path) -> dict[str, dict[str, str]]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_bytes())
        return {
            name: {"json_file": str(entry["json_file"]), "image_root": str(entry["image_root"])}
            for name, entry in content.items()
        }
    except OSError as error:
        raise InputError(path, expected="a readable file", found=error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(path, expected='a JSON object {"NAME": {"json_file": path, "image_root": path}, ...}',
                         found=f"{type(error).__name__}: {error}"[:120],
                         remedy="Mend the file, or delete it and run `nucleus convert` again.") from error  # fmt: skip


def check_name(name: str) -> None:
    """Refuse a name that a data set cannot have.

    Raises:
        InputError: the name is one of BBBC038's, or holds anything but letters, digits, "_", "." and "-".
    """
    if not NAME.fullmatch(name):
        raise InputError("--name", expected="letters, digits, _, . and -", found=repr(name))
    if RESERVED.fullmatch(name):
        raise InputError("--name", expected="a name of your own", found=f"{name}, which is built in")


def register_set(root: str | Path, name: str, json_file: str | Path, image_root: str | Path) -> Path:
    """Add a data set to the registry of a data root, in place of one of the same name.

    Args:
        root: the data root; made if missing.
        name: as used in DATASETS.TRAIN and DATASETS.TEST.
        json_file: COCO file; stored as an absolute path.
        image_root: folder of the images; stored as an absolute path.

    Returns:
        The registry's path.

    Raises:
        InputError: the name is not allowed, or the registry is broken.
        OSError: the root cannot be written.
    """
    check_name(name)
    with only_writer(root, wait=True):
        path = Path(root) / REGISTRY
        content = _read(path)
        content[name] = {"json_file": str(Path(json_file).resolve()), "image_root": str(Path(image_root).resolve())}
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    return path
