from __future__ import annotations

import pytest

from nucleus.errors import InputError
from nucleus.evaluation.groups import read_groups


def test_by_hand(tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("image,modality,group\nx/a.png,purple_tissue,slide 1\nb.tif,,slide 2\nc.ome.tif,stained,\n")
    groups = read_groups(path)
    assert groups.names == {"x/a", "b", "c"}
    assert groups.modalities == {"x/a": "purple_tissue", "c": "stained"}
    assert groups.groups == {"x/a": "slide 1", "b": "slide 2"}


def test_the_index_of_bbbc038_is_one(bbbc038_source):
    groups = read_groups(bbbc038_source / "index.csv")
    assert len(groups.names) == 729
    assert not groups.modalities
    assert len(set(groups.groups.values())) < 729


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "the columns image and modality, group or both, found the columns a, b"),
        ("image,size\n", "found the columns image, size"),
        ("image,group\na.png,1\na.tif,2\n", "each image once, found a twice, again in line 3"),
        ("", "expected the columns"),
        ("image,modality,group\na,,overall\nb,overall,\n", "modalities not called overall, .* found that in line 3"),
    ],
)
def test_other_files(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_groups(tmp_path / "x.csv")


def test_no_file_and_no_text(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.csv: expected a readable CSV file"):
        read_groups(tmp_path / "nowhere.csv")
    (tmp_path / "x.csv").write_bytes(b"image,group\n\xff\xfe,1\n")
    with pytest.raises(InputError, match="a CSV file in UTF-8"):
        read_groups(tmp_path / "x.csv")
