"""The flags that say which model predicts; the same for every command that does."""

from __future__ import annotations

import argparse

from nucleus.zoo.manifest import DEFAULT


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --model, --weights and --config-file; `nucleus.zoo.files.choose_files` takes their values."""
    default = f"{DEFAULT}, unless --weights is given"
    parser.add_argument("--model", metavar="NAME", help=f"one that `nucleus zoo` lists (default: {default})")
    parser.add_argument("--weights", metavar="W", help="own trained model instead: .pth or .safetensors")
    parser.add_argument("--config-file", metavar="F", help="its config (default: config.yaml beside it)")
