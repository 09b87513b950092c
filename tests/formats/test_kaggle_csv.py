"""The competition's CSV."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucleus.errors import InputError
from nucleus.formats.kaggle_csv import RunRow, kaggle_rows, read_kaggle_csv, write_kaggle_csv
from nucleus.masks.kaggle_runs import decode_kaggle, encode_kaggle


def read(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode(encoding))
    return read_kaggle_csv(path)


def test_a_solution(tmp_path):
    rows = read(tmp_path, "ImageId,EncodedPixels,Height,Width,Usage\na,1 2 5 1,4,5,Public\n\nb,,6,7,Private\n")
    assert rows == [RunRow(2, "a", "1 2 5 1", 4, 5), RunRow(4, "b", "", 6, 7)]


def test_a_submission_in_any_order_of_columns_with_a_byte_order_mark(tmp_path):
    rows = read(tmp_path, "EncodedPixels,ImageId\r\n1 2, a \r\n", "utf-8-sig")
    assert rows == [RunRow(2, "a", "1 2")]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("a,1 2", "2 fields where the header has 4"),
        ("a,1 2,4,5,6", "5 fields where the header has 4"),
        ("a,1 2,four,5", "the size 'four' x '5'"),
        ("a,1 2,4.5,5", "the size '4.5' x '5'"),
        ("a,1 2,0,5", "the size '0' x '5'"),
        ("a,1 2,,", "the size '' x ''"),
    ],
)
def test_a_faulty_line_says_why(tmp_path, line, fault):
    good, bad = read(tmp_path, f"ImageId,EncodedPixels,Height,Width\na,1 2,4,5\n{line}\n")
    assert good.fault is None
    assert (bad.line, bad.image_id, bad.fault) == (3, "a", fault)


def test_runs_of_any_length(tmp_path):
    runs = "1 1 " * 100_000
    assert read(tmp_path, f"ImageId,EncodedPixels\na,{runs}\n")[0].runs == runs.strip()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a column ImageId"),
        ("ImageId,Pixels\n", "expected a column EncodedPixels, found the columns ImageId, Pixels"),
        ("ImageId,EncodedPixels\n\xe9,1 2\n", "expected a CSV file in UTF-8"),
    ],
)
def test_no_such_csv(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text, "latin-1")


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="expected a readable CSV file, found No such file"):
        read_kaggle_csv(tmp_path / "a.csv")


def test_what_is_written_is_read_again(tmp_path):
    write_kaggle_csv(tmp_path / "a.csv", [("a", "1 2 5 1"), ("b", "")])
    assert (tmp_path / "a.csv").read_text() == "ImageId,EncodedPixels\na,1 2 5 1\nb,\n"
    assert read_kaggle_csv(tmp_path / "a.csv") == [RunRow(2, "a", "1 2 5 1"), RunRow(3, "b", "")]


@given(arrays(np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 5)))
def test_a_submission_decodes_to_the_same_masks(tmp_path_factory, labels):
    path = tmp_path_factory.getbasetemp() / "submission.csv"
    write_kaggle_csv(path, kaggle_rows("a", labels))
    masks = [decode_kaggle(row.runs, *labels.shape) for row in read_kaggle_csv(path) if row.runs]
    ids = [label for label in np.unique(labels) if label]
    assert len(masks) == len(ids)
    for mask, label in zip(masks, ids, strict=True):
        assert (mask == (labels == label)).all()
    assert [runs for _, runs in kaggle_rows("a", labels) if runs] == [encode_kaggle(labels == label) for label in ids]


def test_an_image_without_nuclei_has_a_line():
    assert list(kaggle_rows("a", np.zeros((3, 3), int))) == [("a", "")]
