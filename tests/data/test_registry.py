"""The list of a user's own data sets."""

import json

import pytest

from nucleus.data.registry import check_name, read_registry, register_set
from nucleus.errors import InputError


def test_a_root_without_a_registry_has_no_sets(tmp_path):
    assert read_registry(tmp_path) == {}
    assert read_registry(tmp_path / "nowhere") == {}


def test_sets_are_added_and_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    register_set("root", "mine", "mine.json", "images")
    register_set("root", "a.second_one-2", tmp_path / "b.json", tmp_path)
    register_set("root", "mine", "new.json", "images")
    found = read_registry("root")
    assert list(found) == ["a.second_one-2", "mine"]
    assert found["mine"].json_file == tmp_path / "new.json"
    assert found["mine"].image_root == tmp_path / "images"
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["registry.json"]


def test_relative_paths_count_from_the_root_and_are_kept(tmp_path):
    entry = {"json_file": "sub/a.json", "image_root": "sub"}
    (tmp_path / "registry.json").write_text(json.dumps({"by_hand": entry}))
    assert read_registry(tmp_path)["by_hand"].json_file == tmp_path / "sub" / "a.json"
    register_set(tmp_path, "mine", "b.json", ".")
    assert json.loads((tmp_path / "registry.json").read_text())["by_hand"] == entry


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', '{"a": {"json_file": "x"}}', "\xff"])
def test_a_broken_registry_is_named(tmp_path, content):
    (tmp_path / "registry.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=r"registry\.json: expected a JSON object"):
        read_registry(tmp_path)
    with pytest.raises(InputError):
        register_set(tmp_path, "mine", "a.json", ".")
    assert (tmp_path / "registry.json").read_bytes() == content.encode("latin-1")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-a", ".a", "bbbc038_val", "bbbc038_synthetic_train", "a\n"])
def test_names_that_are_refused(name):
    with pytest.raises(InputError, match="--name"):
        check_name(name)
