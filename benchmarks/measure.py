"""What the benchmarks share: timing in turn, medians with their spread, the machine, and rows of JSON.

A benchmark is run as `python benchmarks/NAME.py --json FILE`, so that its folder is on the path:

    from measure import comparison, in_turn, print_rows, write_rows

    times = in_turn({"stock": stock, "ours": ours}, repeats=7)
    rows = [comparison("dense images", times["stock"], times["ours"])]
    print_rows(rows)
    write_rows("data_path.json", rows)
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6}  # of one second
PACKAGES = ("nucleus", "detectron2", "torch", "torchvision", "numpy", "opencv-python-headless", "pillow", "hotcoco")


def in_turn(
    cases: Mapping[str, Callable[[], object]], repeats: int = 5, *, warm_up: int = 1, synchronize: bool = False
) -> dict[str, list[float]]:
    """Time several ways of doing the same thing, one after the other in every round.

    A machine that is busy, hot or slow for a while then slows all of them alike. Every other round runs backwards.

    Args:
        cases: name -> what to time.
        repeats: timed rounds.
        warm_up: rounds before them that are not timed.
        synchronize: wait for the GPU at both ends.

    Returns:
        name -> seconds of each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in tqdm(range(-warm_up, repeats), unit="round", leave=False, disable=None):
        for name in cases if turn % 2 == 0 else reversed(list(cases)):
            _wait_for_gpu(synchronize)
            start = time.perf_counter()
            cases[name]()
            _wait_for_gpu(synchronize)
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def comparison(
    case: str, stock: Sequence[float], ours: Sequence[float], *, unit: str = "ms", divisor: float = 1.0, **more: Any
) -> dict[str, Any]:
    """One row: medians of stock and ours and how many times ours is faster.

    Args:
        case: what was timed.
        stock, ours: seconds of each round, as `in_turn` gives them.
        unit: "s", "ms" or "us" for the figures of the row.
        divisor: what a round worked on (images, for instance), for a figure for each.
        more: further entries of the row.

    Returns:
        case, stock, ours (medians in `unit`), ratio (stock / ours), unit, stock_spread, ours_spread (lower and upper
        quartile), ratio_spread (the same, of the ratios within a round) and rounds.
    """
    scale = UNITS[unit] / divisor
    stock, ours = [value * scale for value in stock], [value * scale for value in ours]
    return {
        "case": case,
        "stock": _rounded(statistics.median(stock)),
        "ours": _rounded(statistics.median(ours)),
        "ratio": _rounded(statistics.median(stock) / statistics.median(ours)),
        "unit": unit,
        "stock_spread": quartiles(stock),
        "ours_spread": quartiles(ours),
        "ratio_spread": quartiles([one / other for one, other in zip(stock, ours, strict=True)]),
        "rounds": len(stock),
        **more,
    }


def quartiles(values: Sequence[float]) -> list[float]:
    """Lower and upper quartile; both the value itself where there is one."""
    if len(values) < 2:
        return [_rounded(values[0])] * 2
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return [_rounded(lower), _rounded(upper)]


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, load, GPU (None without) and the versions of what does the work."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "load": [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
        "gpu": _gpu(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def write_rows(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as a JSON list, each with the machine as `machine`."""
    machine = describe_machine()
    Path(path).write_text(json.dumps([{**row, "machine": machine} for row in rows], indent=1) + "\n", encoding="utf-8")


def print_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print case, stock, ours, ratio and its quartiles as a Markdown table."""
    print("| case | stock | ours | unit | ratio | quartiles |")
    print("| --- | ---: | ---: | --- | ---: | --- |")
    for row in rows:
        spread = " - ".join(map(str, row.get("ratio_spread", [])))
        print(f"| {row['case']} | {row['stock']} | {row['ours']} | {row['unit']} | {row['ratio']} | {spread} |")


def _rounded(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _gpu() -> str | None:
    torch = sys.modules.get("torch")  # a benchmark without torch does not load it for this line
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None


def _wait_for_gpu(synchronize: bool) -> None:
    if synchronize:
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()
