"""Serve a page for your browser: drop an image, see its nuclei, move the threshold, download files.

  nucleus app
  nucleus app --weights output/quick/model_final.pth

Open http://127.0.0.1:7860 in your browser; Ctrl-C ends it. The page is reached from this machine alone; images stay on
it. From another machine, use `ssh -L 7860:localhost:7860 MACHINE` and open http://localhost:7860 there. Needs the
extra: pip install "nucleus[app]".
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from nucleus.cli.model_choice import add_model_arguments
from nucleus.errors import InputError

PACKAGES = ("starlette", "uvicorn")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_model_arguments(parser)
    parser.add_argument("--device", metavar="D", help="cpu, cuda or cuda:N (default: the config's, or cpu)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="to listen on (default %(default)s: reached from this machine alone)"
    )
    parser.add_argument("--port", type=int, default=7860, help="to listen on; 0 for any (default %(default)s)")
    parser.add_argument(
        "--allow-host", action="append", default=[], type=_name, metavar="NAME",
        help="another name that it is reached by, as of a server before it that adds a password; again for several",
    )  # fmt: skip
    parser.add_argument(
        "--max-upload", type=_positive, default=64, metavar="MIB", help="largest file (default %(default)s MiB)"
    )
    parser.add_argument(
        "--max-pixels", type=_positive, default=1 << 24, metavar="N", help="largest image (default %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError("nucleus app", expected=f"the packages {' and '.join(missing)}", found="none",
                         remedy='Install them: pip install "nucleus[app]".')  # fmt: skip
    from nucleus.app.limits import MIB, Limits
    from nucleus.app.serve import listen, serve

    limits = Limits(upload_bytes=args.max_upload * MIB, pixels=args.max_pixels)
    with listen(args.host, args.port) as listener:  # before the model, which takes seconds
        from nucleus.inference.predictor import load_model

        model = load_model(args.model, weights=args.weights, config_file=args.config_file, device=args.device,
                           views=args.views, expand=args.expand, scale=args.scale)  # fmt: skip
        serve(model, limits, listener, args.host, args.allow_host, ready=_say)
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


def _name(text: str) -> str:
    if not text or any(one in text for one in ":/@ "):
        raise argparse.ArgumentTypeError(f"expected a name alone, without https:// and port, found {text}")
    return text


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, found {text}")
    return int(text)
