"""Archives and folders as sources; nothing leaves the target folder, and a file is written whole or not at all."""

import os
import pickle
import stat
import zipfile
from pathlib import Path

import pytest
from small_bbbc038 import tree, write_small_set, zip_part

from nucleus.data.archives import ArchiveSource, FolderSource, install, open_source, why_unsafe
from nucleus.data.bbbc038 import TEST, TRAIN
from nucleus.data.converter import prepare
from nucleus.data.repairs import Repairs
from nucleus.errors import InputError


def archive_with(path, entries):
    """A zip of (name or ZipInfo, content) pairs, as given."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def test_folder_and_archive_give_the_same_files(tmp_path):
    folder = write_small_set(tmp_path / "set") / TRAIN
    archive = zip_part(tmp_path / "set", TRAIN, tmp_path / "train.zip")
    one, other = open_source(folder, Repairs()), open_source(archive, Repairs())
    assert isinstance(one, FolderSource) and isinstance(other, ArchiveSource)
    assert one.names == other.names and len(one.names) == 12
    assert one.folders == other.folders
    assert all(one.read(name) == other.read(name) for name in one.names)


def test_hidden_files_and_those_of_macos_are_passed_over(tmp_path):
    archive = archive_with(tmp_path / "a.zip", [("x/.DS_Store", b"1"), ("__MACOSX/x/a.png", b"2"), ("x/a.png", b"3")])
    assert open_source(archive, Repairs()).names == ["x/a.png"]
    (tmp_path / "f" / ".hidden").mkdir(parents=True)
    (tmp_path / "f" / ".hidden" / "a.png").touch()
    (tmp_path / "f" / ".a.png.part").touch()
    assert open_source(tmp_path / "f", Repairs()).names == []


def link(name):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ("../outside.png", "leaves"),
        ("x/images/../../../outside.png", "leaves"),
        ("/outside.png", "absolute"),
        ("C:/outside.png", "absolute"),
        ("..\\outside.png", "leaves"),
        ("\\outside.png", "absolute"),
        ("x/images/a\nb.png", "control"),
        (link("x/images/link.png"), "link"),
    ],
)
def test_an_entry_that_would_leave_the_folder_is_counted_and_not_extracted(tmp_path, entry, found):
    archive = archive_with(tmp_path / "a.zip", [(entry, b"/etc/passwd"), ("x/images/x.png", b"fine")])
    repairs = Repairs()
    assert open_source(archive, repairs).names == ["x/images/x.png"]
    assert repairs.counts() == {"unsafe_archive_entry": 1}
    assert found in repairs.found[0].found
    with pytest.raises(InputError, match="stay inside"):
        open_source(archive, Repairs(strict=True))


def test_no_file_is_written_outside_of_the_root(tmp_path):
    source = write_small_set(tmp_path / "set")
    archive = zip_part(source, TRAIN, tmp_path / "zips" / f"{TRAIN}.zip")
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr("../../escaped/images/escaped.png", b"x")
        packed.writestr("/tmp/escaped/images/escaped.png", b"x")
    zip_part(source, TEST, tmp_path / "zips" / f"{TEST}.zip")
    (tmp_path / "zips" / "stage1_solution.csv").write_bytes((source / "stage1_solution.csv").read_bytes())
    report = prepare(tmp_path / "zips", tmp_path / "work" / "root")
    assert {path.name for path in tmp_path.iterdir()} == {"set", "zips", "work"}
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["root"]
    assert not any("escaped" in name for name in tree(tmp_path / "work"))
    assert not Path("/tmp/escaped").exists()
    assert report["repairs"]["unsafe_archive_entry"]["count"] == 2


def test_an_entry_of_absurd_size_is_not_extracted(tmp_path, monkeypatch):
    archive = archive_with(tmp_path / "a.zip", [("x/images/x.png", b"0" * 100)])
    monkeypatch.setattr("nucleus.data.archives.LARGEST_FILE", 99)
    repairs = Repairs()
    assert open_source(archive, repairs).names == []
    assert repairs.found[0].found == "100 bytes"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_of_two_equal_entries_the_first_is_kept(tmp_path):
    archive = archive_with(tmp_path / "a.zip", [("x/images/x.png", b"first"), ("x/images/x.png", b"second")])
    repairs = Repairs()
    source = open_source(archive, repairs)
    assert source.read("x/images/x.png") == b"first"
    assert repairs.counts() == {"duplicated_id": 1}


@pytest.mark.parametrize("keep", [0, 10, 0.5, -30])
def test_a_truncated_archive_is_an_error_that_says_what_to_do(tmp_path, keep):
    path = zip_part(write_small_set(tmp_path / "set"), TRAIN, tmp_path / "train.zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match=r"train\.zip: expected a whole zip archive.*download it again"):
        open_source(path, Repairs())


def test_a_damaged_entry_is_found_by_its_checksum(tmp_path):
    path = archive_with(tmp_path / "a.zip", [("x/images/x.png", b"some content that is stored as it is")])
    path.write_bytes(path.read_bytes().replace(b"some content", b"SOME content"))
    with pytest.raises(InputError, match=r"CRC"):
        open_source(path, Repairs()).read("x/images/x.png")


def test_a_source_can_be_sent_to_another_process_after_reading(tmp_path):
    source = open_source(archive_with(tmp_path / "a.zip", [("x/a.png", b"content")]), Repairs())
    source.read("x/a.png")
    assert pickle.loads(pickle.dumps(source)).read("x/a.png") == b"content"


def test_install_writes_once_and_mends_what_differs(tmp_path):
    target = tmp_path / "a.png"
    install(b"content", tmp_path, "a.png")
    written = target.stat()
    install(b"content", tmp_path, "a.png")
    assert target.stat().st_ino == written.st_ino  # not written again
    target.write_bytes(b"CONTENT")  # same size
    (tmp_path / ".a.png.part").write_bytes(b"con")  # of a killed run
    install(b"content", tmp_path, "a.png")
    assert tree(tmp_path) == {"a.png": b"content"}


def test_an_archive_that_would_fill_the_disk_is_refused(tmp_path, monkeypatch):
    """As one whose entries lie over one another, so that a few MB are terabytes."""
    monkeypatch.setattr("nucleus.data.archives.ALWAYS", 1 << 20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(4):
            archive.writestr(f"x/masks/{number}.png", bytes(1 << 20))
    with pytest.raises(InputError, match=r"unpacks to at most 20 times its .* found one of 4,194,304 bytes unpacked"):
        open_source(tmp_path / "a.zip", Repairs())


@pytest.mark.parametrize(("offset", "value"), [(6, 99), (10, 14), (10, 98), (8, 1)])
def test_entries_that_cannot_be_unpacked(tmp_path, offset, value):
    """Of a later version of zip, packed by LZMA (which it is not) or unknown means, encrypted."""
    path = archive_with(tmp_path / "a.zip", [("x/images/x.png", b"some content")])
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + offset] = value
    content[content.index(b"PK\3\4") + offset - 2] = value
    path.write_bytes(content)
    with pytest.raises(InputError, match="expected"):
        open_source(path, Repairs()).read("x/images/x.png")


def test_a_pipe_or_device_in_a_folder_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("/dev/zero")
    source = open_source(tmp_path, Repairs())
    for name in source.names:
        with pytest.raises(InputError, match="a pipe or a device"):
            source.read(name)


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "outside").write_bytes(b"precious")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.png").symlink_to(tmp_path / "outside")
    install(b"content", tmp_path / "root", "a.png")
    assert (tmp_path / "root" / "a.png").read_bytes() == b"content"
    (tmp_path / "root" / ".b.png.part").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="symbolic links"):
        install(b"content", tmp_path / "root", "b.png")
    assert (tmp_path / "outside").read_bytes() == b"precious"


def test_an_entry_without_a_name_is_unsafe():
    assert why_unsafe(zipfile.ZipInfo("\0x.png")) == "an empty name"
