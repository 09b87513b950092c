"""The flags that say which model predicts, and how; the same for every command that does."""

from __future__ import annotations

import argparse

from nucleus.zoo.manifest import DEFAULT


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --model, --weights and --config-file, which `nucleus.zoo.files.choose_files` takes, and how it is applied."""
    default = f"{DEFAULT}, unless --weights is given"
    parser.add_argument("--model", metavar="NAME", help=f"one that `nucleus zoo` lists (default: {default})")
    parser.add_argument("--weights", metavar="W", help="own trained model instead: .pth or .safetensors")
    parser.add_argument("--config-file", metavar="F", help="its config (default: config.yaml beside it)")
    parser.add_argument(
        "--views", type=int, choices=(1, 2, 4, 8), metavar="1|2|4|8", help="see each image mirrored and turned, too: "
        "somewhat better, and so many times slower (default: the config's, 1)",
    )  # fmt: skip
    parser.add_argument(
        "--expand", type=float, metavar="PIXELS", help="draw each nucleus wider all around, or narrower where "
        "negative, to match where you draw edges: minus the outline offset that `nucleus evaluate` prints (default: "
        "the config's, 0)",
    )  # fmt: skip
    parser.add_argument(
        "--scale", type=float, metavar="FACTOR", help="enlarge every image for the network by this, 0.25 to 8, so that "
        "nuclei are as wide as those it was trained on: for lite from 13 to 104 pixels (default: as in training, where "
        "images of less than 512 pixels are enlarged to that)",
    )  # fmt: skip
