#!/usr/bin/env python
"""Kill a command at random moments (SIGKILL), start it again, and look at what is there each time.

    python tools/kill_often.py --command prepare --kills 50
    python tools/kill_often.py --command all

Whatever a killed run leaves must be nothing, or whole files of an unbroken run; and the run that comes to its end must
have written all that an unbroken run writes: the same bytes, for training the same weights and best score. Then the
output is removed, and it begins anew. Inputs are small and made here. The first difference ends it with exit code 1.

Each run is the real command in a process of its own, a copy of one that has imported what commands need: seconds of
imports would otherwise take most of the kills.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
KILLS = {"prepare": 50, "predict": 50, "evaluate": 50, "train": 20}
copies = multiprocessing.get_context("forkserver")
MODULES = ("torch", "detectron2.modeling", "nucleus.engine.run", "nucleus.inference.predict_files", "nucleus.cli.main",
           "nucleus.cli.prepare", "nucleus.cli.evaluate", "nucleus.evaluation.report", "matplotlib.figure",
           "tensorboard")  # fmt: skip


class DifferenceError(Exception):
    """What a run left is not what it should be."""


@dataclass
class Case:
    """A command and what it writes.

    Attributes:
        arguments: of the command.
        output: the folder that it writes.
        check: raises DifferenceError where a file of the output is not whole, or, with True, where one is missing.
        environment: variables that it is run with.
    """

    arguments: Sequence[str]
    output: Path
    check: Callable[[bool], None]
    environment: dict[str, str] = field(default_factory=dict)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder that a user sees: none that is hidden or in a hidden folder."""
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        path.as_posix(): (folder / path).read_bytes()
        for path in paths
        if not any(part.startswith(".") for part in path.parts)
    }


def _run(name: str, arguments: Sequence[str], environment: dict[str, str], log: str) -> None:
    os.setpgid(0, 0)  # what it starts is killed with it
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.environ.update(environment)
    import torch

    from nucleus.cli.main import run_command

    torch.set_num_threads(1)
    os._exit(run_command(name, arguments))


def start(name: str, case: Case, log: Path) -> Any:
    """`nucleus NAME ...` in a process of its own."""
    process = copies.Process(target=_run, args=(name, list(case.arguments), case.environment, str(log)))
    process.start()
    return process


def kill(process: Any) -> None:
    """SIGKILL to a process and to what it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:  # it has ended, or does not yet lead its group
        process.kill()


def kill_often(name: str, case: Case, kills: int, log: Path, seed: int = 0) -> dict[str, Any]:
    """Run a command unbroken, and then again and again, each run killed at a random moment of that time.

    Args:
        name: of the command.
        case: its arguments and output.
        kills: how many runs are to be killed.
        log: file for what it prints.
        seed: of the moments.

    Returns:
        How many runs were killed and how many came to their end, files of one that did, and seconds of an unbroken one.
    """
    for _ in range(2):  # the first waits for the imports, and says what is right
        begin = time.perf_counter()
        process = start(name, case, log)
        process.join()
        seconds = time.perf_counter() - begin
        if process.exitcode != 0:
            raise DifferenceError(f"an unbroken run ended with {process.exitcode}:\n{log.read_text()[-2000:]}")
        case.check(True)
        files = len(contents(case.output))
        shutil.rmtree(case.output)
    rng = random.Random(seed)
    killed = ended = 0
    while killed < kills:
        process = start(name, case, log)
        process.join(rng.uniform(0, seconds))
        if process.exitcode is None:
            kill(process)
        process.join()
        if process.exitcode == -signal.SIGKILL:
            killed += 1
            case.check(False)
        elif process.exitcode == 0:
            ended += 1
            case.check(True)
            shutil.rmtree(case.output)
        else:
            raise DifferenceError(f"a run ended with {process.exitcode}:\n{log.read_text()[-2000:]}")
    process = start(name, case, log)  # what the last kill left is completed, too
    process.join()
    case.check(True)
    return {"command": name, "kills": killed, "came to an end": ended + 1, "files": files, "s a run": round(seconds, 1)}


class SameBytes:
    """Compare the visible files of a folder with those of its first complete run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.expected: dict[str, bytes] | None = None

    def __call__(self, complete: bool) -> None:
        """See `Case.check`."""
        found = contents(self.folder) if self.folder.exists() else {}
        if self.expected is None:
            self.expected = found
        for name, content in found.items():
            if content != self.expected.get(name):
                raise DifferenceError(f"{self.folder / name}: not the file of an unbroken run")
        if complete and found.keys() != self.expected.keys():
            raise DifferenceError(f"{self.folder}: without {sorted(self.expected.keys() - found.keys())}")


class SameTraining:
    """Compare the checkpoints of a training run with those of its first complete run, value by value."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.expected: dict[str, Any] | None = None

    def __call__(self, complete: bool) -> None:
        """See `Case.check`."""
        import torch

        paths = [path for path in self.folder.glob("*.pth") if not path.name.startswith(".")]
        found = {path.name: torch.load(path, weights_only=True) for path in paths}
        if self.expected is None:
            self.expected = found
        if (run := self.folder / "run.json").exists():
            json.loads(run.read_text())
        for name, content in found.items():
            # The best of a run that is under way may be the best so far.
            if (complete or name != "model_best.pth") and not same(content, self.expected[name]):
                raise DifferenceError(f"{self.folder / name}: not the checkpoint of an unbroken run")
        if complete and found.keys() != self.expected.keys():
            raise DifferenceError(f"{self.folder}: {sorted(found)}, expected {sorted(self.expected)}")


def same(one: Any, other: Any) -> bool:
    """Whether two nests of plain values and tensors are equal, tensors bit for bit."""
    import torch

    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def make_case(name: str, folder: Path) -> Case:
    """Small inputs for a command, and its arguments."""
    from nucleus.cli.main import run_command

    data, output = folder / "set", folder / "output"
    if not data.exists():
        run_command("synth", ["--root", str(data), "--images", "12", "--test-images", "4", "--max-size", "256"])
    if name == "prepare":
        options = ["--source", str(data), "--root", str(output), "--workers", "2"]
        return Case(options, output, SameBytes(output))
    images = folder / "images"
    if not images.exists():
        import tifffile

        from nucleus.formats.image import read_image

        images.mkdir()
        pictures = [read_image(path) for path in sorted(data.glob("stage1_train/*/images/*.png"))]
        for number, picture in enumerate(pictures[:4]):
            tifffile.imwrite(images / f"small_{number}.tif", picture)
        large = next(picture for picture in pictures if picture.ndim == 2 or len(set(picture[0, 0])) == 1)
        large = large if large.ndim == 2 else large[..., 0]
        tifffile.imwrite(images / "large.tif", large.repeat(2, axis=0).repeat(2, axis=1))
    if name == "predict":
        options = [str(images), "--output", str(output), "--format", "labels,geojson,coco,measurements",
                   "--tile", "256"]  # fmt: skip
        return Case(options, output, SameBytes(output))
    if name == "evaluate":
        truth = folder / "truth"
        if not truth.exists():
            run_command("predict", [str(images), "--output", str(truth)])
        options = ["--truth", str(truth), "--pred", str(truth), "--output", str(output)]
        return Case(options, output, SameBytes(output))
    root = folder / "datasets" / "bbbc038_synthetic"
    if not root.exists():
        run_command("prepare", ["--source", str(data), "--root", str(root), "--workers", "1"])
    settings = {
        "OUTPUT_DIR": output, "DATASETS.TRAIN": "('bbbc038_synthetic_train',)", "SOLVER.MAX_ITER": 8,
        "DATASETS.TEST": "('bbbc038_synthetic_test',)", "DATALOADER.NUM_WORKERS": 0, "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.CHECKPOINT_PERIOD": 2, "SOLVER.WARMUP_ITERS": 1, "INPUT.CROP_SIZE": 64, "TEST.PANELS": 0,
        "INPUT.UPSCALE_SHORT_EDGE": 0, "TEST.LOSS_IMAGES": 0, "TEST.EVAL_PERIOD": 4, "MODEL.TIMM.WEIGHTS": "",
    }  # fmt: skip
    config = ["--config-file", str(ROOT / "configs" / "quick" / "mask_rcnn_lite0_FPN.yaml"), "--resume"]
    options = [*config, *(str(part) for pair in settings.items() for part in pair)]
    return Case(options, output, SameTraining(output), {"DETECTRON2_DATASETS": str(folder / "datasets")})


def main() -> int:
    """Kill what is asked for, and print a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", choices=[*KILLS, "all"], required=True)
    parser.add_argument("--kills", type=int, metavar="N", help=f"of each command (default: {KILLS})")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the moments (default 0)")
    args = parser.parse_args()
    copies.set_forkserver_preload(list(MODULES))
    for name in KILLS if args.command == "all" else [args.command]:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            log = folder / "log.txt"
            try:
                row = kill_often(name, make_case(name, folder), args.kills or KILLS[name], log, args.seed)
            except DifferenceError as error:
                print(f"{name}: {error}", file=sys.stderr)
                return 1
        print(", ".join(f"{key}: {value}" for key, value in row.items()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
