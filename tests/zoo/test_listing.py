from __future__ import annotations

from nucleus.zoo.listing import NONE, describe, list_models, score_text, training_words
from nucleus.zoo.manifest import read_models
from nucleus.zoo.zoo_model import Score


def test_nothing_to_list():
    assert list_models([]) == NONE and "--weights" in NONE


def test_the_list(add):
    add("small", b"w")
    add("large", b"more weights", "https://models.example/weights.safetensors",
        speed={"images_per_second": 7.254, "side": 256, "hardware": "a CPU, 2 threads", "precision": "bfloat16"},
        scores={})  # fmt: skip
    assert list_models(read_models()).splitlines() == [
        "small: Mask R-CNN on something",
        "  size       0.0 MB, 4.0 M parameters, nothing to fetch",
        "  scores     DSB score 0.500 (0.250 to 0.750) on bbbc038_test",
        "  threshold  0.55, chosen on bbbc038_val",
        "  licence    Apache-2.0; data: BBBC038, CC0-1.0",
        "  data       bbbc038_train",
        "",
        "large: Mask R-CNN on something",
        "  size       0.0 MB, 4.0 M parameters, fetched when it is first used",
        "  threshold  0.55, chosen on bbbc038_val",
        "  speed      7.25 images of 256 x 256 pixels a second (a CPU, 2 threads, bfloat16)",
        "  licence    Apache-2.0; data: BBBC038, CC0-1.0",
        "  data       bbbc038_train",
    ]


def test_one_in_full(add, zoo, tmp_path):
    folder = add("small")
    add("large", b"more weights", "https://models.example/weights.safetensors")
    small, large = read_models()
    text = describe(small, zoo)
    assert f"  {folder / 'weights.safetensors'}\n  {folder / 'config.yaml'}\n  SHA-256 {small.weights.sha256}" in text
    lines = text.splitlines()
    (table,) = (number for number, line in enumerate(lines) if line.startswith("bbbc038_test, score threshold 0.55 "))
    assert lines[table].split()[-4:] == ["all", "images", "purple", "tissue"]
    assert [line.split() for line in lines[table + 1 : table + 5]] == [
        ["images", "3", "3"],
        ["true", "nuclei", "30", "30"],
        ["DSB", "score", *["0.500", "(0.250", "to", "0.750)"] * 2],
        ["COCO", "AP", "(masks)", "0.400", "0.400"],
    ]
    assert lines[-3:] == ["  nucleus train", "  1.5 hours, 10 steps, 40 crops", "  seed 0, cpu, 2 threads"]
    cache = f"{tmp_path / 'cache' / 'models' / f'large-{large.weights.sha256[:12]}' / 'weights.safetensors'}"
    assert f"  {cache} (not here yet; from https://models.example/weights.safetensors)" in describe(large, zoo)


def test_words():
    assert score_text(None) == "-" and score_text(Score(0.12345)) == "0.123"
    assert training_words(0.2, 1000, 4000) == "12 minutes, 1,000 steps, 4,000 crops"
