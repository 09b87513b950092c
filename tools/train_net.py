#!/usr/bin/env python
"""Train and evaluate: `nucleus train`, with Detectron2's flags, from a clone."""

from nucleus.cli.main import end_process, run_command

if __name__ == "__main__":
    end_process(run_command("train"))
