import json

from nucleus.engine.metrics_log import trim_metrics


def test_steps_that_will_be_repeated_and_half_lines_are_dropped(tmp_path):
    path = tmp_path / "metrics.json"
    lines = [json.dumps({"iteration": iteration, "loss": 1.0}) for iteration in (19, 39, 59)]
    path.write_text("\n".join(lines) + '\n{"iteration": 5')
    assert trim_metrics(path, 40) == 2
    assert path.read_text() == "\n".join(lines[:2]) + "\n"
    assert trim_metrics(path, 40) == 0


def test_a_run_without_a_log_begins_one(tmp_path):
    assert trim_metrics(tmp_path / "metrics.json", 40) == 0
    assert not (tmp_path / "metrics.json").exists()
