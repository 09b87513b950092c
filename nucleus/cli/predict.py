"""Find the nuclei of your images and write them for the program you use.

  nucleus predict images/ --output nuclei/
  nucleus predict slide.ome.tif --output nuclei/ --format labels,geojson,measurements
  nucleus predict images/ --output nuclei/ --weights output/quick/model_final.pth

The model is one that `nucleus zoo` lists, or one of your own.

INPUT is an image, a folder of images (with the folders below it) or several of them: PNG, JPEG, TIFF, OME-TIFF and
slides of 8 or 16 bit or floating point, grey or RGB, and OME-Zarr. Large images are worked on tile by tile. A file that
cannot be read is reported, the others go on, and the exit code is 1. A run that was stopped goes on where it was when
it is started again.

With --engine dask, several processes work at once, on this machine or on those of a Dask scheduler; the files are the
same as with as many --threads here (docs/scaling.md).
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nucleus.cli.model_choice import add_model_arguments
from nucleus.cli.third_parties import silence_third_parties
from nucleus.data.lock import only_writer
from nucleus.errors import InputError
from nucleus.inference.exports import DEFAULT, FORMATS, formats_named
from nucleus.inference.image_files import ImageFile, find_images
from nucleus.inference.tiling import SMALLEST_TILE, smallest_tile
from nucleus.processes import available_cpus
from nucleus.zoo.files import choose_files, sha256_of

if TYPE_CHECKING:
    from nucleus.inference.output_folder import Done
    from nucleus.inference.predict_files import Reading, Report
    from nucleus.inference.predictor import Model
    from nucleus.zoo.files import ModelFiles

FAILED = 1  # the exit code where some images could not be read


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="images and folders of images")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write into")
    add_model_arguments(parser)
    parser.add_argument(
        "--format", default=",".join(DEFAULT), metavar="F,F", help=f"any of {', '.join(FORMATS)} (default: %(default)s)"
    )
    parser.add_argument(
        "--tile", type=_tile, metavar="auto|N",
        help="side of a tile in pixels, 256 or more of what the network sees (default auto: 1024 for images with a "
        "side over 1536, else whole; enlarged by --scale, so many fewer)",
    )  # fmt: skip
    parser.add_argument("--threshold", type=_score, metavar="S", help="lowest score, 0 to 1 (default: the model's)")
    parser.add_argument("--channel", type=_channels, metavar="C[,C,C]", help="one channel, or three as red,green,blue")
    parser.add_argument("--page", type=int, metavar="N", help="image of a stack, from 0")
    parser.add_argument("--series", type=int, metavar="N", help="image of a file with several, from 0")
    parser.add_argument("--level", type=int, default=0, metavar="N", help="of a pyramid (default 0, the full size)")
    parser.add_argument("--device", metavar="D", help="cpu, cuda or cuda:N (default: the config's, or cpu)")
    parser.add_argument("--batch", type=_count, default=1, metavar="N", help="tiles at once; for a GPU (default 1)")
    parser.add_argument(
        "--threads", type=_count, metavar="N",
        help="of the CPU (default: one a processor; with --engine dask one a worker). On some processors the last "
        "digits of the network's numbers depend on it",
    )  # fmt: skip
    parser.add_argument("--engine", choices=("local", "dask"), default="local", help="what runs it (default: local)")
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="of Dask: tcp://host:8786 (default: none, --workers here)"
    )
    parser.add_argument("--workers", type=_count, metavar="N", help="processes of Dask here (default: one a processor)")
    parser.add_argument("--overwrite", action="store_true", help="do again what is done already")


def run(args: argparse.Namespace) -> int:
    """Predict, write, and print a line on what was done."""
    _check_engine(args)
    formats = formats_named(args.format)
    images = find_images(args.inputs, leave_out=args.output)
    files = choose_files(args.model, args.weights, args.config_file)
    if "://" in files.weights:
        raise InputError(files.weights, expected="a file", found="an address", remedy="Fetch it first.")
    silence_third_parties()
    import torch  # takes seconds

    from nucleus.inference.output_folder import Output
    from nucleus.inference.predict_files import Reading, predict_files
    from nucleus.inference.predictor import load_model

    if args.threads and args.engine == "local":
        torch.set_num_threads(args.threads)
    reading = Reading(args.channel, args.page, args.series, args.level)
    # On Dask, the workers' device need not be here: this process then only asks the model for its threshold.
    device = args.device if args.engine == "local" else "cpu"
    model = load_model(weights=files.weights, config_file=files.config, device=device, threshold=args.threshold,
                       views=args.views, expand=args.expand, scale=args.scale)  # fmt: skip
    _check_tile(args)
    settings = _settings(files, model, reading, args.tile)
    try:
        with only_writer(args.output), _Progress(len(images)) as progress:
            output = Output(args.output, formats, settings, overwrite=args.overwrite)
            how: dict[str, Any] = {"reading": reading, "tile": args.tile, "batch": args.batch,
                                   "on_image": progress.image, "on_tiles": progress.tiles}  # fmt: skip
            if args.engine == "local":
                report = predict_files(images, model, output, **how)
            else:
                from nucleus.inference.dask_engine import predict_files_on_dask
                from nucleus.inference.dask_tasks import ModelChoice

                choice = ModelChoice(files, settings["weights"], settings["config"], args.device, model.threshold,
                                     args.threads or 1, args.views, args.expand, args.scale)  # fmt: skip
                workers = args.workers or available_cpus()
                report = predict_files_on_dask(
                    images,
                    choice,
                    output,
                    scheduler=args.scheduler,
                    workers=workers,
                    begin=silence_third_parties,
                    **how,
                )
    except OSError as error:
        raise InputError(error.filename or args.output, expected="a disk with room that can be written to",
                         found=error.strerror or str(error),
                         remedy="Start the same command again to go on: what is done stays.") from error  # fmt: skip
    _print(report, model, args.output)
    return FAILED if report.failed else 0


def _settings(files: ModelFiles, model: Model, reading: Reading, tile: int | None) -> dict[str, Any]:
    """What the files depend on: a run goes on only with the same."""
    from nucleus.config import load_config

    return {
        "weights": sha256_of(files.weights),
        "config": hashlib.sha256(load_config(files.config).dump().encode()).hexdigest(),
        "threshold": model.threshold,
        "views": model.network.views,
        "expand": model.network.expand,
        "scale": model.scale,
        "tile": tile,
        "channel": reading.channels,
        "page": reading.page,
        "series": reading.series,
        "level": reading.level,
    }


def _check_engine(args: argparse.Namespace) -> None:
    """Before anything is loaded: options that fit, and Dask installed where it is asked for."""
    if args.engine == "local":
        for name in ("scheduler", "workers"):
            if getattr(args, name) is not None:
                raise InputError(f"--{name}", expected="--engine dask with it", found="--engine local")
    elif find_spec("distributed") is None:
        raise InputError("--engine dask", expected="the package distributed", found="none",
                         remedy='Install it: pip install "nucleus[dask]".')  # fmt: skip
    elif args.scheduler is not None and args.workers is not None:
        raise InputError("--workers", expected="either --scheduler or --workers", found="both",
                         remedy="The workers of a scheduler are started by themselves.")  # fmt: skip


def _check_tile(args: argparse.Namespace) -> None:
    """Once, in place of an error for each image that is larger than the tile; --scale has been checked."""
    if args.tile is not None and args.tile < (least := smallest_tile(args.scale or 1.0)):
        raise InputError("--tile", expected=f"{least} or more pixels with --scale {args.scale:g}", found=str(args.tile))


class _Progress:
    """A bar over images, with the rate and the time left, and one over the tiles of each large image under way."""

    def __init__(self, images: int) -> None:
        from tqdm import tqdm

        self.bar: Any = tqdm(total=images, unit="image", desc="Images", disable=None, file=sys.stderr)
        self.new_bar = tqdm
        self.inner: dict[str, Any] = {}

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *error: object) -> None:
        for name in list(self.inner):
            self._close_inner(name)
        self.bar.close()

    def image(self, image: ImageFile, outcome: Done | InputError) -> None:
        """One image more."""
        self._close_inner(image.name)
        self.bar.update()
        if isinstance(outcome, InputError):
            self.bar.write(f"nucleus predict: {outcome}", file=sys.stderr)

    def tiles(self, image: ImageFile, done: int, total: int) -> None:
        """Some tiles more of an image."""
        if total == 1:
            return
        if image.name not in self.inner:
            self.inner[image.name] = self.new_bar(
                total=total, unit="tile", desc=image.name[-30:], leave=False, disable=None, file=sys.stderr
            )
        bar = self.inner[image.name]
        if bar.total != total:  # again, in finer tiles
            bar.reset(total)
        bar.update(done - bar.n)

    def _close_inner(self, name: str) -> None:
        if name in self.inner:
            self.inner.pop(name).close()


def _print(report: Report, model: Model, folder: Path) -> None:
    every = report.done + report.skipped
    parts = [f"{len(report.done)} {_plural('image', len(report.done))} done"]
    if report.done:
        parts[0] += f" in {report.seconds:.1f} s ({len(report.done) / report.seconds:.2g} a second)"
    if report.skipped:
        parts.append(f"{len(report.skipped)} done before")
    if report.failed:
        parts.append(f"{len(report.failed)} failed (see above)")
    print(", ".join(parts) + f"; {sum(done.nuclei for done in every):,} nuclei of score {model.threshold:g} or more")
    for done in every:
        if done.full:
            print(f"WARNING: {done.name}: {done.full} of {done.tiles} {_plural('tile', done.tiles)} gave "
                  f"{model.max_detections} nuclei, the most that the model gives: some may be missing. Use a smaller "
                  f"--tile, or raise TEST.DETECTIONS_PER_IMAGE in the config.")  # fmt: skip
        if done.cut:
            print(f"WARNING: {done.name}: {done.cut} nuclei end at the edge of what a tile shows. Use a larger --tile.")
    print("Written:", folder, *report.joined)


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


def _tile(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < SMALLEST_TILE:
        raise argparse.ArgumentTypeError(f"expected auto, or {SMALLEST_TILE} or more pixels, found {text}")
    return int(text)


def _score(text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        raise argparse.ArgumentTypeError(f"expected a score from 0 to 1, found {text}")
    return score


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {text}")
    return int(text)


def _channels(text: str) -> tuple[int | str, ...]:
    return tuple(int(one) if one.isdigit() else one for one in text.split(","))
