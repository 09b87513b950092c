"""The converter against bare decoding of the same PNGs, in as many processes.

    BBBC038_SOURCE=DIR python benchmarks/converter.py --json converter.json

DIR holds the archives of BBBC038 (`stage1_train.zip`, `stage1_test.zip`, `stage1_solution.csv`). With
`--folder /dev/shm` files are written to memory, so that the disk is not measured; 250 MB for each repeat. Two cases, in
turn:

- in place: the archives are extracted, and the converter reads the folders; bare decoding reads the same files.
- from the archives: the converter also extracts 29,715 files; bare decoding reads them from the archives and writes
  nothing.

Here `stock` is bare decoding: `cv2.imdecode` of every image and mask, and nothing with the result. The ratio is bare
decoding / converter: below 1, since the converter decodes as well; 1 / 1.3 = 0.77 is what it is to reach.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from measure import comparison, in_turn, print_rows, write_rows

from nucleus.data.archives import Source, open_source
from nucleus.data.bbbc038 import TEST, TRAIN, locate
from nucleus.data.converter import prepare
from nucleus.data.repairs import Repairs
from nucleus.processes import available_cpus, in_order


class Decoding:
    """Reads and decodes the files of one image, in any process."""

    def __init__(self, sources: dict[str, Source]) -> None:
        self.sources = sources

    def __call__(self, job: tuple[str, list[str]]) -> int:
        part, names = job
        contents = (np.frombuffer(self.sources[part].read(name), dtype=np.uint8) for name in names)
        return sum(cv2.imdecode(content, cv2.IMREAD_UNCHANGED) is not None for content in contents)


def decode_all(source: Path, workers: int) -> int:
    """Decode every PNG of both parts; how many there are."""
    sources = {part: open_source(locate(source, part), Repairs(strict=False)) for part in (TRAIN, TEST)}
    jobs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for part, place in sources.items():
        for name in place.names:
            if name.endswith(".png"):
                jobs[part, name.rpartition("/")[0].rpartition("/")[0]].append(name)
    return sum(in_order(Decoding(sources), [(part, names) for (part, _), names in jobs.items()], workers))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="rows are written here")
    parser.add_argument("--source", type=Path, default=os.environ.get("BBBC038_SOURCE"), metavar="DIR")
    parser.add_argument("--workers", type=int, default=available_cpus(), metavar="N", help="processes (default: all)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", metavar="DIR", help="where to write files (default: the folder for temporary ones)")
    args = parser.parse_args(arguments)
    if args.source is None:
        parser.error("no --source, and no BBBC038_SOURCE in the environment")
    cv2.setNumThreads(1)
    rows = []
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        extracted = Path(folder) / "extracted"
        prepare(args.source, extracted, workers=args.workers)
        files = decode_all(extracted, args.workers)
        fresh = count()
        cases = {
            "in place": (extracted, lambda: prepare(extracted, extracted, workers=args.workers)),
            "from the archives": (
                args.source,
                lambda: prepare(args.source, Path(folder) / str(next(fresh)), workers=args.workers),
            ),
        }
        for case, (source, convert) in cases.items():
            bare = {"stock": lambda source=source: decode_all(source, args.workers), "ours": convert}
            times = in_turn(bare, args.repeats, warm_up=0)
            rows.append(comparison(case, times["stock"], times["ours"], unit="s", files=files, processes=args.workers))
    print_rows(rows)
    write_rows(args.json, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
