#!/usr/bin/env python
"""Fuzz what reads files of strangers: nothing but the documented errors, no hang, no more memory than promised.

    python tools/fuzz.py --target coco --seconds 60
    python tools/fuzz.py --target all --seconds 30 --keep found

Each target is a reader, some whole files of its format, and the errors that it may raise. Inputs are those files
changed at random: led by the lines that they reach where the package atheris is installed (it is no part of the
project's environment: pip install atheris), else blindly. Each target runs in a process of its own, which ends an input
that takes longer than 20 seconds. Printed of each: inputs, how many were read and how many refused, the longest
time and the peak of memory. The exit code is 1 if anything else happened; --keep has the inputs that did it.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HEIGHT, WIDTH = 12, 15
PATIENCE = 20  # seconds for one input
WARM_UP = 60  # seconds for the first input, which imports what the target needs

Read = Callable[[bytes, Path], Any]
Seeds = Callable[[Path], list[bytes]]


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Attributes:
        read: given the content of a file and a folder to put it into; what it returns is thrown away.
        seeds: contents that can be read, made with the help of a folder.
        errors: what it may raise.
    """

    read: Read
    seeds: Seeds
    errors: tuple[type[Exception], ...]


def targets() -> dict[str, Target]:
    """All targets by their names."""
    from nucleus.errors import InputError

    documented = (InputError,)
    images = {
        name: Target(_image(f"input.{suffix}"), _pictures(kinds), documented)
        for name, suffix, kinds in (
            ("png", "png", ("png", "png16", "png_grey", "png_palette")),
            ("jpeg", "jpg", ("jpeg", "jpeg_progressive")),
            ("webp", "webp", ("webp",)),
            ("bmp", "bmp", ("bmp",)),
            ("tiff", "tif", ("tiff", "tiff_tiled", "tiff_lzw", "tiff_jpeg", "tiff_imagej")),
            ("ome-tiff", "ome.tif", ("tiff_ome",)),
        )
    }
    return {
        "rle": Target(_rle, lambda _: [_rle_seed(), b"\x0c\x0f11", b"\x01\x010"], (ValueError,)),
        "segmentation": Target(_segmentation, _segmentations, (ValueError,)),
        "kaggle-runs": Target(_kaggle_runs, lambda _: [b"1 3 10 2", b"", b"180 1"], (ValueError,)),
        "kaggle-csv": Target(_source("input.csv"), _csvs, documented),
        "coco": Target(_source("input.json"), _cocos, documented),
        "coco-results": Target(_results, _coco_results, documented),
        "geojson": Target(_source("input.geojson"), _geojsons, documented),
        **images,
        "label-png": Target(_labels("input.png"), _label_files(".png"), documented),
        "label-tiff": Target(_labels("input.tif"), _label_files(".tif"), documented),
        "zarr": Target(_zarr, _zarr_seeds, documented),
        "imagej": Target(_imagej, _imagej_seeds, documented),
        "zip": Target(_archive, _archives, documented),
        "config": Target(_config, _configs, documented),
        "pth": Target(_weights("input.pth"), _checkpoints(".pth"), documented),
        "safetensors": Target(_weights("input.safetensors"), _checkpoints(".safetensors"), documented),
    }


def _write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def _labels_of_two() -> np.ndarray:
    labels = np.zeros((HEIGHT, WIDTH), np.int32)
    labels[1:5, 2:6], labels[6:11, 7:14] = 1, 2
    return labels


def _rle(content: bytes, folder: Path) -> None:
    from nucleus.masks import rle as codec

    height, width, counts = *(*content[:2], 0, 0)[:2], content[2:]
    rle = {"size": [height, width], "counts": counts}
    as_text = {"size": [height, width], "counts": counts.decode("latin-1")}
    for read in (codec.coco_area, codec.coco_box, codec.decode_coco, codec.runs_from_coco):
        for one in (rle, as_text):
            try:
                read(one)
            except ValueError:
                continue
    runs = codec.runs_of_many([as_text, as_text])
    again = codec.rle_from_runs(runs[0], height, width)
    assert np.array_equal(
        codec.runs_from_coco(again), codec.runs_from_coco(codec.rle_from_runs(runs[1], height, width))
    )


def _rle_seed() -> bytes:
    from nucleus.masks.rle import encode_coco

    return bytes((HEIGHT, WIDTH)) + str(encode_coco(_labels_of_two() == 2)["counts"]).encode()


def _segmentation(content: bytes, folder: Path) -> None:
    from nucleus.formats.coco import rle_from_segmentation
    from nucleus.masks.rle import coco_area

    try:
        segmentation = json.loads(content)
    except RecursionError:
        return
    coco_area(rle_from_segmentation(segmentation, HEIGHT, WIDTH))


def _segmentations(folder: Path) -> list[bytes]:
    from nucleus.masks.rle import encode_coco

    forms = [
        encode_coco(_labels_of_two() == 1),
        {"size": [HEIGHT, WIDTH], "counts": [10, 20, 150]},
        [[1, 1, 5, 1, 5, 5.5, 1, 5]],
    ]
    return [json.dumps(form).encode() for form in forms]


def _kaggle_runs(content: bytes, folder: Path) -> None:
    from nucleus.masks.kaggle_runs import decode_kaggle

    decode_kaggle(content.decode("latin-1"), HEIGHT, WIDTH)


def _source(name: str) -> Read:
    def read(content: bytes, folder: Path) -> None:
        from nucleus.evaluation.sources import open_source

        for entry in open_source(_write(folder, name, content)).entries.values():
            entry.read(entry.size if entry.has_size else (HEIGHT, WIDTH), annotations=True)

    return read


def _csvs(folder: Path) -> list[bytes]:
    return [b"ImageId,EncodedPixels\na,1 3 10 2\na,30 4\nb,\n", b"ImageId,EncodedPixels,Height,Width\na,1 3,12,15\n"]


def _coco_file() -> dict[str, Any]:
    from nucleus.formats.coco import coco_results

    results = list(coco_results(1, _labels_of_two(), [0.9, 0.8]))
    annotations = [{"id": n, "iscrowd": 0, "area": 16.0, **one} for n, one in enumerate(results)]
    images = [{"id": 1, "file_name": "a/b.png", "height": HEIGHT, "width": WIDTH, "modality": "x", "group": "g"}]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "nucleus"}]}


def _cocos(folder: Path) -> list[bytes]:
    from nucleus.evaluation.sources import open_source

    coco = _coco_file()
    plain = json.loads(json.dumps(coco))
    for one, form in zip(plain["annotations"], _segmentations(folder)[1:], strict=True):
        del one["score"], one["bbox"]
        one["segmentation"] = json.loads(form)
    contents = [json.dumps(coco).encode(), json.dumps(plain).encode()]
    for content in contents:
        open_source(_write(folder, "seed.json", content))
    return contents


def _results(content: bytes, folder: Path) -> None:
    from nucleus.evaluation.sources import open_source

    truth = open_source(_write(folder, "truth.json", json.dumps(_coco_file()).encode()))
    for entry in open_source(_write(folder, "input.json", content), truth=truth).entries.values():
        entry.read(entry.size, annotations=True)


def _coco_results(folder: Path) -> list[bytes]:
    from nucleus.formats.coco import coco_results

    return [json.dumps(list(coco_results(1, _labels_of_two(), [0.9, 0.8]))).encode()]


def _geojsons(folder: Path) -> list[bytes]:
    from nucleus.formats.geojson import write_geojson

    write_geojson(folder / "seed.geojson", _labels_of_two(), [0.9, 0.8])
    collection = {
        "type": "GeometryCollection",
        "geometries": [{"type": "Polygon", "coordinates": [[[0, 0], [5, 0], [0, 5]]]}],
    }
    old = {"type": "Feature", "geometry": collection, "properties": {"measurements": [{"name": "Score", "value": 1}]}}
    return [(folder / "seed.geojson").read_bytes(), json.dumps(old).encode()]


def _image(name: str) -> Read:
    def read(content: bytes, folder: Path) -> None:
        from nucleus.formats.image import read_image, to_rgb8

        to_rgb8(read_image(_write(folder, name, content)))

    return read


def _pictures(kinds: tuple[str, ...]) -> Seeds:
    def make(folder: Path) -> list[bytes]:
        return [_picture(kind) for kind in kinds]

    return make


def _picture(kind: str) -> bytes:
    import tifffile
    from PIL import Image

    rgb = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    image, grey16, file = Image.fromarray(rgb), rgb[..., 0].astype(np.uint16) * 257, io.BytesIO()
    tiffs: dict[str, dict[str, Any]] = {
        "tiff": {"data": rgb, "compression": "zlib", "resolution": (1, 1)},
        "tiff_tiled": {"data": np.tile(rgb, (3, 3, 1)), "tile": (16, 16), "compression": "zlib"},
        "tiff_lzw": {"data": grey16, "compression": "lzw", "predictor": True},
        "tiff_jpeg": {"data": rgb, "compression": "jpeg"},
        "tiff_imagej": {"data": grey16, "imagej": True, "metadata": {"unit": "um"}},
        "tiff_ome": {"data": grey16, "ome": True, "metadata": {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}},
    }
    if kind in tiffs:
        options = tiffs[kind]
        with tifffile.TiffWriter(file, imagej=options.pop("imagej", False), ome=options.pop("ome", None)) as writer:
            writer.write(options.pop("data"), **options)
    elif kind == "png16":
        Image.fromarray(grey16).save(file, "PNG")
    elif kind == "png_grey":
        image.convert("LA").save(file, "PNG", dpi=(90_000, 90_000))
    elif kind == "png_palette":
        image.convert("P").save(file, "PNG", transparency=1)
    elif kind == "jpeg_progressive":
        image.save(file, "JPEG", progressive=True)
    else:
        image.save(file, kind.upper())
    return file.getvalue()


def _labels(name: str) -> Read:
    def read(content: bytes, folder: Path) -> None:
        from nucleus.evaluation.label_checks import check_stored_labels
        from nucleus.formats.label_image import read_label_image

        path = _write(folder, name, content)
        labels = read_label_image(path)
        check_stored_labels(labels, np.setdiff1d(labels, 0), path)

    return read


def _label_files(suffix: str) -> Seeds:
    def make(folder: Path) -> list[bytes]:
        from nucleus.formats.label_image import write_label_image

        write_label_image(folder / f"small{suffix}", _labels_of_two())
        write_label_image(
            folder / f"many{suffix}", np.arange(HEIGHT * WIDTH * 2, dtype=np.int32).reshape(2 * HEIGHT, -1)
        )
        return [(folder / f"{name}{suffix}").read_bytes() for name in ("small", "many")]

    return make


def _zarr(content: bytes, folder: Path) -> None:
    """The metadata of the group are the first line, those of the array the rest."""
    from nucleus.formats.image import read_image

    group, _, array = content.partition(b"\n")
    image = folder / "image.zarr"
    shutil.rmtree(image, ignore_errors=True)
    (image / "0").mkdir(parents=True)
    _write(image, ".zgroup", b'{"zarr_format": 2}')
    _write(image, ".zattrs", group)
    _write(image / "0", ".zarray", array)
    _write(image / "0", "0.0", bytes(range(HEIGHT * WIDTH)))
    read_image(image)


def _zarr_seeds(folder: Path) -> list[bytes]:
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    steps = [{"type": "scale", "scale": [0.5, 0.5]}]
    group = {
        "multiscales": [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}],
        "omero": {"channels": [{"label": "DAPI", "color": "FF0000"}]},
    }
    array = {"zarr_format": 2, "shape": [HEIGHT, WIDTH], "chunks": [HEIGHT, WIDTH], "dtype": "|u1", "order": "C",
             "compressor": None, "filters": None, "fill_value": 0}  # fmt: skip
    return [json.dumps(group).encode() + b"\n" + json.dumps(array).encode()]


def _imagej(content: bytes, folder: Path) -> None:
    from nucleus.formats.imagej_roi import read_imagej_rois

    read_imagej_rois(
        _write(folder, "input.roi" if content.startswith(b"Iout") else "input.zip", content), HEIGHT, WIDTH
    )


def _imagej_seeds(folder: Path) -> list[bytes]:
    from nucleus.formats.imagej_roi import write_imagej_rois

    ring = _labels_of_two()
    ring[8, 9] = 0
    write_imagej_rois(folder / "seed.zip", ring, [0.9, 0.8])
    with zipfile.ZipFile(folder / "seed.zip") as archive:
        return [archive.read("1.roi"), archive.read("2.roi"), (folder / "seed.zip").read_bytes()]


def _archive(content: bytes, folder: Path) -> None:
    from nucleus.data.archives import open_source
    from nucleus.data.bbbc038 import TRAIN, list_images
    from nucleus.data.mask_collector import decode_mask
    from nucleus.data.repairs import Repairs
    from nucleus.errors import InputError

    repairs = Repairs()
    source = open_source(_write(folder, "input.zip", content), repairs)
    for image in list_images(source, TRAIN, repairs):
        for name in (image.image, *image.masks):
            try:
                decode_mask(source.read(name))
            except InputError:
                continue


def _archives(folder: Path) -> list[bytes]:
    contents = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name in ("images/a", "masks/1", "masks/2"):
                archive.writestr(f"set/a/{name}.png", _picture("png_grey"))
        contents.append(file.getvalue())
    return contents


def _config(content: bytes, folder: Path) -> None:
    from nucleus.config import load_config

    load_config(_write(folder, "input.yaml", content))


def _configs(folder: Path) -> list[bytes]:
    (folder / "base.yaml").write_text("SOLVER: {MAX_ITER: 7}\n")
    return [b"_BASE_: base.yaml\nMODEL:\n  TIMM: {NAME: x, WEIGHTS: ''}\nINPUT:\n  SCALE_RANGE: (0.7, 1.5)\n",
            b"VERSION: 2\nSOLVER:\n  STEPS: [1, 2]\n  BASE_LR: 0.1\nDATASETS: {TRAIN: &t ['a'], TEST: *t}\n",
            b"MODEL: {MASK_ON: true}\n"]  # fmt: skip


def _weights(name: str) -> Read:
    def read(content: bytes, folder: Path) -> None:
        from nucleus.modeling.pretrained import read_weights
        from nucleus.modeling.score_threshold import read_score_threshold

        path = _write(folder, name, content)
        for one in (read_weights, read_score_threshold):
            one(path)

    return read


def _checkpoints(suffix: str) -> Seeds:
    def make(folder: Path) -> list[bytes]:
        import torch
        from safetensors.torch import save_file

        tensors = {"module.a": torch.arange(6.0).reshape(2, 3), "module.b": torch.ones(1)}
        path = folder / f"seed{suffix}"
        if suffix == ".safetensors":
            save_file(tensors, path, metadata={"score_threshold": '{"value": 0.4}'})
            return [path.read_bytes()]
        contents = []
        for zipped in (True, False):
            torch.save(
                {"model": tensors, "score_threshold": {"value": 0.4}}, path, _use_new_zipfile_serialization=zipped
            )
            contents.append(path.read_bytes())
        return contents

    return make


HOSTILE_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1 << 31, 1 << 63, 10**300, 0.5, -1e300, float("nan"), float("inf")),
    *("", "x", "P", "\0", "../x", "9" * 5000),
    *([], {}, [[]], [1, 2], {"id": 1}, [[[0, 0], [1, 1], [0, 1]]]),
)


def changed(seeds: list[bytes], rng: random.Random) -> bytes:
    """One of the seeds, changed in one to six places; half of the time so that its outer form stays whole."""
    content = rng.choice(seeds)
    if rng.random() < 0.5:
        if content.startswith(b"\x89PNG"):
            return _changed_png(content, rng)
        if content.startswith(b"PK"):
            return _changed_zip(content, rng)
        if content.lstrip()[:1] in (b"{", b"["):
            lines = content.split(b"\n") if b'"zarr_format"' in content else [content]
            at = rng.randrange(len(lines))
            return b"\n".join([*lines[:at], _changed_json(lines[at], rng), *lines[at + 1 :]])
    content = _changed_bytes(content, seeds, rng)
    return content[: rng.randint(0, len(content))] if rng.random() < 0.1 else content


def _changed_bytes(seed: bytes, seeds: list[bytes], rng: random.Random) -> bytes:
    content = bytearray(seed)
    for _ in range(rng.randint(1, 6)):
        at, other = rng.randint(0, len(content)), rng.choice(seeds)
        size = rng.choice((1, 1, 1, 2, 4, 8, 64))
        start = rng.randint(0, len(other))
        part = {
            0: rng.randbytes(size),
            1: rng.choice((b"\xff", b"\0", b"\x7f", b"\x80")) * size,
            2: other[start : start + rng.choice((4, 16, 256))],
            3: rng.choice(
                (b"-1", b"1e999", b"NaN", b"9" * 20, b"null", b"[", b"{", b'""', b"0", b"[]", b"..", b"P" * 9)
            ),
            4: b"",
        }[rng.randint(0, 4)]
        content[at : at + rng.choice((0, len(part), size))] = part
    return bytes(content)


def _changed_json(seed: bytes, rng: random.Random) -> bytes:
    """Some values replaced by others, or some keys taken away."""
    root = [json.loads(seed)]
    for _ in range(rng.randint(1, 3)):
        node: Any = root
        while True:
            keys = list(node) if isinstance(node, dict) else range(len(node))
            key = rng.choice(list(keys))
            if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.85:
                node = node[key]
                continue
            if isinstance(node, dict) and rng.random() < 0.1:
                del node[key]
            else:
                node[key] = copy.deepcopy(rng.choice(HOSTILE_VALUES))
            break
        if not root[0]:
            break
    return json.dumps(root[0]).encode()


def _changed_png(seed: bytes, rng: random.Random) -> bytes:
    """Chunks changed, doubled or left out, their checksums right."""
    content, place = seed[:8], 8
    while place + 12 <= len(seed):
        length, kind = int.from_bytes(seed[place : place + 4], "big"), seed[place + 4 : place + 8]
        body = seed[place + 8 : place + 8 + length]
        if rng.random() < 0.4:
            body = _changed_bytes(body, [body], rng)
        chunk = len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        content += chunk * rng.choice((0, 1, 1, 1, 1, 1, 1, 2))
        place += length + 12
    return content


def _changed_zip(seed: bytes, rng: random.Random) -> bytes:
    """One member changed, its checksum and size right."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(seed)) as old, zipfile.ZipFile(file, "w") as new:
        chosen = rng.choice(old.namelist())
        for entry in old.infolist():
            body = old.read(entry)
            new.writestr(entry, _changed_bytes(body, [body], rng) if entry.filename == chosen else body)
    return file.getvalue()


class Watch:
    """Runs one input after the other and keeps count in a file that outlives the process."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target, self.folder = target, folder
        self.counts = {"inputs": 0, "read": 0, "refused": 0, "seconds": 0.0}
        self.said = 0.0
        warnings.simplefilter("ignore")

    def __call__(self, content: bytes) -> None:
        _write(self.folder, "last", content)
        signal.alarm(PATIENCE if self.counts["inputs"] else WARM_UP)  # nobody handles it: it ends the process
        begin = time.perf_counter()
        try:
            self.target.read(content, self.folder)
            self.counts["read"] += 1
        except self.target.errors:
            self.counts["refused"] += 1
        finally:
            signal.alarm(0)
            seconds = time.perf_counter() - begin
            if self.counts["inputs"]:
                self.counts["seconds"] = max(self.counts["seconds"], seconds)
            self.counts["inputs"] += 1
            if begin - self.said > 0.5:
                self.say(begin)

    def say(self, now: float) -> None:
        self.said = now
        _write(self.folder, "counts", json.dumps(self.counts).encode())


def run_target(name: str, folder: Path, seconds: float, seed: int) -> None:
    """What the process of one target does."""
    guided = importlib.util.find_spec("atheris") is not None
    watch = Watch(targets()[name], folder)
    if guided:
        atheris = importlib.import_module("atheris")
        with atheris.instrument_imports(include=["nucleus", "pycocotools", "tifffile", "yaml", "roifile"]):
            seeds = watch.target.seeds(folder)
            watch(seeds[0])
        corpus = folder / "corpus"
        corpus.mkdir()
        for number, content in enumerate(seeds):
            _write(corpus, str(number), content)
        options = [f"-max_total_time={round(seconds)}", f"-seed={seed + 1}", "-rss_limit_mb=4096", "-max_len=20000"]
        atheris.Setup(["fuzz", *options, f"-artifact_prefix={folder}/", str(corpus)], watch)
        atheris.Fuzz()
        return
    seeds, rng, end = watch.target.seeds(folder), random.Random(seed), time.perf_counter() + seconds
    for content in seeds:
        watch(content)
    while time.perf_counter() < end:
        watch(changed(seeds, rng))
    watch.say(end)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", required=True, choices=[*targets(), "all"])
    parser.add_argument("--seconds", type=float, default=60, help="for each target (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for inputs that did something else")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        run_target(args.target, args.child, args.seconds, args.seed)
        return 0
    failed = False
    print(
        f"{'target':14} {'inputs':>9} {'read':>8} {'refused':>8} {'longest s':>9} {'peak MiB':>8}  outcome", flush=True
    )
    for name in targets() if args.target == "all" else [args.target]:
        failed |= not _watched(name, args)
    return int(failed)


def _watched(name: str, args: argparse.Namespace) -> bool:
    """Run one target in a process of its own, print its line, and say whether all was well."""
    with tempfile.TemporaryDirectory(prefix="nucleus-fuzz-") as scratch:
        folder = Path(scratch)
        command = [sys.executable, __file__, "--target", name, "--child", scratch, "--seconds", str(args.seconds)]
        command += ["--seed", str(args.seed)]
        root = str(Path(__file__).parents[1])
        env = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
        with (
            (folder / "said").open("wb") as said,
            subprocess.Popen(command, stdout=said, stderr=said, env=env) as child,
        ):
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        counts = json.loads((folder / "counts").read_text()) if (folder / "counts").exists() else {}
        outcome = {0: "nothing else", -signal.SIGALRM: "HANGS"}.get(child.returncode, f"FAILS ({child.returncode})")
        numbers = [counts.get(key, 0) for key in ("inputs", "read", "refused")]
        print(f"{name:14} {numbers[0]:9,} {numbers[1]:8,} {numbers[2]:8,} {counts.get('seconds', 0):9.2f} "
              f"{usage.ru_maxrss >> 10:8,}  {outcome}", flush=True)  # fmt: skip
        if child.returncode == 0:
            return True
        sys.stderr.write((folder / "said").read_text(errors="replace")[-3000:])
        if args.keep and (folder / "last").exists():
            args.keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "last", args.keep / f"{name}-{args.seed}")
        return False


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.exit(main())
