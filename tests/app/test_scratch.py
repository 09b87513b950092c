"""Temporary files of servers: those of a killed one are removed, those of a living one and of others are not."""

import fcntl
import os
import tempfile
from pathlib import Path

from nucleus.app.refusals import PREFIX
from nucleus.app.scratch import LOCK, remove_stale, scratch_folder

LONG_AGO = 1_000_000_000


def folder(where, name, *, old=True):
    made = where / f"{PREFIX}{name}"
    (made / "inner").mkdir(parents=True)
    (made / "inner" / "uploaded image").write_bytes(b"x")
    (made / LOCK).touch()
    if old:
        os.utime(made, (LONG_AGO, LONG_AGO))
    return made


def test_what_a_killed_server_left_is_removed(tmp_path):
    left, without_lock = folder(tmp_path, "left"), folder(tmp_path, "unlocked")
    (without_lock / LOCK).unlink()
    os.utime(without_lock, (LONG_AGO, LONG_AGO))
    assert sorted(remove_stale(tmp_path)) == sorted([left, without_lock])
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_use_new_a_link_or_of_another_name_stays(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    used, young = folder(tmp_path, "used"), folder(tmp_path, "young", old=False)
    link = tmp_path / f"{PREFIX}link"
    link.symlink_to(precious)
    inside = folder(tmp_path, "inside")
    (inside / "link").symlink_to(precious)
    os.utime(inside, (LONG_AGO, LONG_AGO))
    with (used / LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert remove_stale(tmp_path) == [inside]
    assert used.is_dir() and young.is_dir() and link.is_symlink() and (precious / "file").is_file()


def test_a_server_has_its_own_folder_and_leaves_none(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = folder(tmp_path, "left")
    with scratch_folder() as own:
        assert not left.exists()
        os.utime(own, (LONG_AGO, LONG_AGO))
        with tempfile.TemporaryDirectory() as inner:
            assert Path(inner).parent == own
            assert remove_stale(tmp_path) == []
        assert tempfile.gettempdir() == str(own)
    assert tempfile.gettempdir() == str(tmp_path) and list(tmp_path.iterdir()) == []
