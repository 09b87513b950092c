"""`nucleus prepare` from a clone: converts BBBC038 to COCO. `--help` says how."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nucleus.cli.main import end_process, run_command

if __name__ == "__main__":
    end_process(run_command("prepare"))
