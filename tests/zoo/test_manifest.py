from __future__ import annotations

import json
from pathlib import Path

import pytest

from nucleus.errors import InputError
from nucleus.zoo import manifest
from nucleus.zoo.files import named_files
from nucleus.zoo.manifest import as_plain, find_model, read_model, read_models, write_model
from nucleus.zoo.zoo_model import Score


def test_what_is_written_comes_back(add, tmp_path):
    model = read_model(add("tiny"))
    assert model.scores["bbbc038_test"].groups["purple_tissue"].image_mean["DSB score"] == Score(0.5, 0.25, 0.75)
    assert model.tested_on == "bbbc038_test" and model.training[0].commit is None
    assert write_model(tmp_path / "tiny", model) == tmp_path / "tiny" / "model.json"
    assert read_model(tmp_path / "tiny") == model
    assert json.loads((tmp_path / "tiny" / "model.json").read_text()) == json.loads(json.dumps(as_plain(model)))


def test_the_smallest_comes_first_and_other_folders_are_passed_over(add, zoo):
    add("large", b"more weights")
    add("small", b"w")
    (zoo / "notes").mkdir()
    (zoo / ".staging" / "half").mkdir(parents=True)
    (zoo / ".staging" / "half" / "model.json").write_text("{")
    assert [model.name for model in read_models()] == ["small", "large"]


def test_looking_up(add, zoo):
    with pytest.raises(InputError, match=r"model lite: expected a model that ships, found none.*--weights W"):
        find_model("lite")
    add("lite")
    add("large", b"more weights")
    assert find_model("large").name == "large"
    with pytest.raises(InputError, match=r"model lit: expected one of lite, large, found none.*Did you mean lite\?"):
        find_model("lit")
    with pytest.raises(InputError, match=r"model ../x: expected one of lite, large.*See nucleus zoo"):
        find_model("../x")


def test_a_folder_that_is_not_there(zoo, monkeypatch):
    monkeypatch.setenv("NUCLEUS_ZOO", str(zoo / "no"))
    with pytest.raises(InputError, match=r"no: expected the folder of models that NUCLEUS_ZOO names"):
        read_models()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "nucleus model 2"}, "format: expected nucleus model 1, found nucleus model 2"),
        ({"name": "other"}, "name: expected tiny, as its folder, found other"),
        ({"parameters": "many"}, "parameters: expected a whole number"),
        ({"weights.file": "../../weights.safetensors"}, "weights.file: expected the name of a .safetensors file"),
        ({"weights.file": "weights.pth"}, "weights.file: expected the name of a .safetensors file"),
        ({"weights.bytes": 0}, "weights.bytes: expected 1 to"),
        ({"weights.bytes": 1 << 50}, "weights.bytes: expected 1 to"),
        ({"weights.sha256": "ABC"}, "weights.sha256: expected 64 hexadecimal digits"),
        ({"weights.url": "file:///etc/weights.safetensors"}, "weights.url: expected an http or https address"),
        (
            {"weights.url": "https://host/other.safetensors"},
            "weights.url: expected .* that ends with /weights.safetens",
        ),
        ({"score_threshold.value": 1.5}, r"expected numbers from 0 to 1, found \[1.5\]"),
        ({"scores": {"x": {"threshold": 0.5, "interval": "", "groups": {}}}}, "scores: expected overall ones"),
        ({"surprise": 1}, "surprise: expected one of format, name"),
    ],
)
def test_a_manifest_that_is_wrong(add, change, message):
    folder = add("tiny")
    content = json.loads((folder / "model.json").read_text())
    for key, value in change.items():
        *path, last = key.split(".")
        node = content
        for part in path:
            node = node[part]
        node[last] = value
    (folder / "model.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"model\.json, .*{message}"):
        read_model(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_manifest_that_is_none(zoo, content):
    (zoo / "tiny").mkdir()
    (zoo / "tiny" / "model.json").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.json"):
        find_model("tiny")


def test_the_models_that_ship_are_whole():
    """Weights, config and what is said of them belong together; nothing of another machine is in them."""
    from nucleus.modeling.score_threshold import read_score_threshold

    folder = Path(manifest.__file__).parent / "models"
    for model in read_models():
        files = named_files(model.name) if model.weights.url is None else None
        text = (folder / model.name / "config.yaml").read_text() + (folder / model.name / "model.json").read_text()
        assert files is None or read_score_threshold(files.weights) == model.score_threshold.value
        assert not any(place in text for place in ("/home/", "/opt/", "/root/", "/tmp/", "/work/"))
        assert model.weights.url is not None or model.weights.bytes <= 16_000_000
