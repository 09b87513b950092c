"""Which files a user means, and that only those are used that are what they were; fetched from a real server."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

import pytest

from nucleus.errors import InputError
from nucleus.zoo.files import cache_folder, choose_files, config_file, named_files, weights_file

CONTENT = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def own(tmp_path) -> Path:
    """Own weights with a config beside them, and another config elsewhere."""
    (tmp_path / "model.pth").touch()
    (tmp_path / "config.yaml").touch()
    (tmp_path / "other.yaml").touch()
    return tmp_path


def test_what_a_user_means(add, own):
    lite = add("lite", b"1")
    large = add("large", b"22")
    for arguments, weights, config, name in (
        ({}, lite / "weights.safetensors", lite / "config.yaml", "lite"),
        ({"name": "large"}, large / "weights.safetensors", large / "config.yaml", "large"),
        ({"name": "nucleus://large"}, large / "weights.safetensors", large / "config.yaml", "large"),
        ({"weights": "nucleus://large"}, large / "weights.safetensors", large / "config.yaml", "large"),
        ({"weights": own / "model.pth"}, own / "model.pth", own / "config.yaml", None),
        (
            {"weights": own / "model.pth", "config_file": own / "other.yaml"},
            own / "model.pth",
            own / "other.yaml",
            None,
        ),
    ):
        files = choose_files(**arguments)
        assert (files.weights, files.config, files.name) == (str(weights), config, name)


def test_what_contradicts_itself(add, own):
    add("lite")
    for arguments, message in (
        (
            {"name": "lite", "weights": own / "model.pth"},
            "model lite: expected .* found a name and weights. Leave one out",
        ),
        ({"name": "lite", "config_file": own / "other.yaml"}, "model lite: expected .* found a name and a config"),
        ({"weights": "nucleus://lite", "config_file": own / "other.yaml"}, "found a name and a config"),
        ({"config_file": own / "other.yaml"}, "other.yaml: expected weights that were trained with this config"),
        ({"weights": own / "no.pth"}, "no.pth: expected a trained checkpoint, found nothing there"),
        (
            {"weights": own / "model.pth", "config_file": own / "no.yaml"},
            "no.yaml: expected the config that the weights",
        ),
        ({"name": "no"}, "model no: expected one of lite"),
    ):
        with pytest.raises(InputError, match=message):
            choose_files(**arguments)


def test_addresses(add, tmp_path):
    folder = add("lite")
    assert weights_file("nucleus://lite") == str(folder / "weights.safetensors")
    assert config_file("nucleus://lite") == str(folder / "config.yaml")
    for other in ("", "output/model.pth", "detectron2://ImageNetPretrained/MSRA/R-50.pkl"):
        assert weights_file(other) == config_file(other) == other
    (folder / "config.yaml").unlink()
    with pytest.raises(InputError, match=r"config\.yaml: expected the config of the model lite, found nothing there"):
        config_file("nucleus://lite")


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"weighty", "SHA-256 "), (b"weight", "6 bytes"), (b"weights and more", "16 bytes"), (None, "nothing there")],
)
def test_weights_that_are_not_what_they_were(add, content, found):
    path = add("lite", b"weights") / "weights.safetensors"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=rf"expected 7 bytes with SHA-256 .* found {found}.*Install nucleus again"):
        named_files("lite")


def test_where_the_cache_is(monkeypatch):
    monkeypatch.setenv("NUCLEUS_CACHE", "/one")
    assert cache_folder() == Path("/one")
    monkeypatch.delenv("NUCLEUS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert cache_folder() == Path("/two/nucleus")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "nucleus"


@pytest.fixture
def remote(add, server):
    """A model whose weights the server has."""
    server.content = CONTENT
    add("lite", CONTENT, server.address)
    return server


def cached(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "cache").rglob("*") if path.is_file())


def test_weights_are_fetched_once(remote, tmp_path):
    path = Path(named_files("lite").weights)
    assert path.read_bytes() == CONTENT and path.is_relative_to(tmp_path / "cache")
    assert named_files("lite").weights == str(path)
    assert remote.requests == ["/models/weights.safetensors"] and cached(tmp_path) == ["weights.safetensors"]


def test_who_comes_at_the_same_time_waits(remote, tmp_path):
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(named_files("lite").weights)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1 and len(remote.requests) == 1


def test_a_cut_connection_goes_on(remote, tmp_path):
    remote.cut = 300_000
    assert Path(named_files("lite").weights).read_bytes() == CONTENT
    assert len(remote.requests) == 4 and cached(tmp_path) == ["weights.safetensors"]


def test_a_fetch_that_ended_half_way_goes_on_another_time(remote, tmp_path):
    remote.cut = 0
    remote.content = CONTENT[:700_000]
    with pytest.raises(InputError, match=r"weights\.safetensors: expected a whole file.*Run it again later"):
        named_files("lite")
    remote.cut, remote.content = None, CONTENT
    assert Path(named_files("lite").weights).read_bytes() == CONTENT
    assert cached(tmp_path) == ["weights.safetensors"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT[::-1], r"expected SHA-256 [0-9a-f]{64}, found [0-9a-f]{64}"),
        (CONTENT[:1000], "expected 1048576 bytes, found 1000 bytes"),
        (CONTENT * 3, "expected 1048576 bytes, found a larger file"),
        (b"<html>no</html>", "expected 1048576 bytes, found 15 bytes"),
    ],
)
def test_other_bytes_are_refused_and_not_kept(remote, tmp_path, content, message):
    remote.content = content
    with pytest.raises(InputError, match=message):
        named_files("lite")
    assert "weights.safetensors" not in cached(tmp_path)
    remote.content = CONTENT
    assert Path(named_files("lite").weights).read_bytes() == CONTENT


def test_an_address_without_file_and_a_server_that_is_gone(add, server, tmp_path):
    add("lost", b"w", server.address.replace("/models/", "/nothing/"))
    with pytest.raises(InputError, match=r"nothing/weights\.safetensors: expected a file, found HTTP 404 Not Found"):
        named_files("lost")
    assert len(server.requests) == 1
    add("gone", b"v", "http://127.0.0.1:9/weights.safetensors")
    with pytest.raises(
        InputError, match=r"127\.0\.0\.1:9/weights\.safetensors: expected a whole file, found .*refused"
    ):
        named_files("gone")


def test_a_cached_file_that_was_damaged_is_said(remote):
    path = Path(named_files("lite").weights)
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(InputError, match=r"expected SHA-256 .*Delete the file and fetch it again"):
        named_files("lite")


def test_a_cache_that_cannot_be_written(remote, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUCLEUS_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"expected a folder with room that can be written to.*NUCLEUS_CACHE=FOLDER"):
        named_files("lite")


def test_other_weights_of_the_same_name_do_not_disturb(add, remote, zoo):
    """A new version of the package brings another model.json; the old file is left where it is."""
    named_files("lite")
    known = json.loads((zoo / "lite" / "model.json").read_text())
    remote.content = b"newer"
    known["weights"] |= {"bytes": 5, "sha256": hashlib.sha256(b"newer").hexdigest()}
    (zoo / "lite" / "model.json").write_text(json.dumps(known))
    assert Path(named_files("lite").weights).read_bytes() == b"newer"
