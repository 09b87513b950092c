"""The command that a report names can be typed again."""

from __future__ import annotations

import argparse
import shlex

from nucleus.cli import evaluate


def test_the_command_gives_the_same_options() -> None:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    given = ["--truth", "my truth.json", "--pred", "p", "--output", "o", "--no-report", "--score-threshold", "0.0"]
    args = parser.parse_args(given)
    words = shlex.split(evaluate._command(args))
    assert words[:2] == ["nucleus", "evaluate"]
    assert parser.parse_args(words[2:]) == args
