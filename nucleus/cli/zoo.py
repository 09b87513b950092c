"""List the models that have a name, with size, scores, speed, licence and data, or show one in full.

  nucleus zoo
  nucleus zoo lite                  scores by kind of image, how it was trained, its files
  nucleus zoo lite --fetch          fetch its weights now, for a machine that will have no network, and check them

$NUCLEUS_ZOO names a folder of models in place of those of the package; $NUCLEUS_CACHE where fetched weights are kept.
"""

from __future__ import annotations

import argparse
import json

from nucleus.zoo.files import named_files
from nucleus.zoo.listing import describe, list_models
from nucleus.zoo.manifest import as_plain, find_model, models_folder, read_models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="show this model in full")
    parser.add_argument("--fetch", action="store_true", help="fetch the weights where they do not ship, and check them")
    parser.add_argument("--json", action="store_true", help="print what is known as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the list or the one."""
    if args.name is None:
        models = read_models()
        if args.fetch:
            for model in models:
                named_files(model.name)
        print(json.dumps([as_plain(model) for model in models], indent=1) if args.json else list_models(models))
        return 0
    model = find_model(args.name)
    if args.fetch:
        named_files(model.name)
    print(json.dumps(as_plain(model), indent=1) if args.json else describe(model, models_folder()))
    return 0
