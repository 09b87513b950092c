#!/usr/bin/env python
"""A door onto nucleus/install_detectron2.py for a clone, where nucleus and what it needs are not installed yet."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).resolve().parents[1] / "nucleus" / "install_detectron2.py"), run_name="__main__")
