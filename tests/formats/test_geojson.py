import json
import tracemalloc
from itertools import repeat

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from shapely.geometry import shape
from skimage.draw import polygon2mask

from nucleus.errors import InputError
from nucleus.formats.geojson import read_geojson, write_geojson, write_nuclei
from nucleus.formats.image_source import open_image
from nucleus.masks.nuclei import Nucleus

RING = np.zeros((6, 8), np.int32)
RING[1:5, 1:5] = 1
RING[2:4, 2:4] = 0  # a hole
RING[0, 7] = RING[5, 6] = 2  # two pieces

SQUARE = [[[1, 1], [4, 1], [4, 3], [1, 3], [1, 1]]]
LABELS = arrays(np.int32, st.tuples(st.integers(1, 10), st.integers(1, 10)), elements=st.integers(0, 3))


def save(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def feature(geometry_type="Polygon", coordinates=SQUARE, **properties):
    geometry = {"type": geometry_type, "coordinates": coordinates}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def rasterised_outside(geometry, height, width):
    """scikit-image's filling of what shapely read."""
    mask = np.zeros((height, width), bool)
    for polygon in getattr(geometry, "geoms", [geometry]):
        for ring in (polygon.exterior, *polygon.interiors):
            mask ^= polygon2mask((height, width), np.array(ring.coords)[:, ::-1] - 0.5)
    return mask


def test_a_file_by_hand(tmp_path):
    write_geojson(tmp_path / "a.geojson", RING, [0.75, float("nan")])
    content = json.loads((tmp_path / "a.geojson").read_text())
    assert content["type"] == "FeatureCollection"
    ring, pieces = content["features"]
    assert ring["geometry"] == {
        "type": "Polygon",
        "coordinates": [[[1, 1], [5, 1], [5, 5], [1, 5], [1, 1]], [[2, 2], [2, 4], [4, 4], [4, 2], [2, 2]]],
    }
    assert ring["properties"]["objectType"] == "detection"
    assert ring["properties"]["classification"]["name"] == "Nucleus"
    assert ring["properties"]["measurements"] == {"score": 0.75}
    assert [piece["properties"]["name"] for piece in (ring, pieces)] == ["1", "2"]
    assert pieces["geometry"]["type"] == "MultiPolygon" and len(pieces["geometry"]["coordinates"]) == 2
    assert "measurements" not in pieces["properties"]  # JSON has no NaN


@given(LABELS)
def test_shapely_finds_each_valid_and_filled_they_are_the_masks(tmp_path_factory, labels):
    path = tmp_path_factory.mktemp("geojson") / "a.geojson"
    write_geojson(path, labels)
    features = json.loads(path.read_text())["features"]
    assert [int(one["properties"]["name"]) for one in features] == [i for i in np.unique(labels) if i]
    for one in features:
        geometry = shape(one["geometry"])
        mask = labels == int(one["properties"]["name"])
        assert geometry.is_valid and geometry.area == mask.sum()
        assert (rasterised_outside(geometry, *labels.shape) == mask).all()


@given(LABELS, st.data())
def test_round_trip(tmp_path_factory, labels, data):
    path = tmp_path_factory.mktemp("geojson") / "a.geojson"
    ids, numbers = np.unique(np.append(labels, 0), return_inverse=True)
    scores = data.draw(arrays(np.float64, (len(ids) - 1,), elements=st.floats(0, 1)))
    labels = numbers[:-1].reshape(labels.shape)  # without gaps, so that the order of the features is the label
    write_geojson(path, labels, scores)
    found, found_scores = read_geojson(path, *labels.shape)
    assert found.dtype == np.int32 and (found == labels).all()
    assert found_scores.dtype == np.float64 and (found_scores == scores).all()


def test_an_image_without_nuclei(tmp_path):
    write_geojson(tmp_path / "a.geojson", np.zeros((3, 4), np.uint8), [])
    assert json.loads((tmp_path / "a.geojson").read_text())["features"] == []
    labels, scores = read_geojson(tmp_path / "a.geojson", 3, 4)
    assert labels.shape == (3, 4) and not labels.any() and scores.shape == (0,)


def test_memory_does_not_grow_with_the_nuclei(tmp_path):
    nucleus = Nucleus(1, (5, 5, 25, 25), np.ones((20, 20), bool), 0.5)
    peaks = []
    for count in (100, 1000):  # of which each takes 2 kB once parsed
        tracemalloc.start()
        write_nuclei(tmp_path / "a.geojson", repeat(nucleus, count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 300_000


def test_outlines_of_a_level_are_in_pixels_of_the_full_image(tmp_path, pyramid):
    with open_image(pyramid[0], level=1) as source:
        assert source.downsample == (2, 2)
    with open_image(pyramid[0]) as source:
        assert source.downsample == (1, 1)
    write_geojson(tmp_path / "a.geojson", np.eye(2, dtype=np.int32)[:1], downsample=(2, 4.0003))
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    corners = feature["geometry"]["coordinates"][0]
    assert corners == [[0, 0], [4, 0], [4, 2], [0, 2], [0, 0]]


def test_annotations_can_be_asked_for(tmp_path):
    write_geojson(tmp_path / "a.geojson", RING, object_type="annotation")
    assert '"objectType": "annotation"' in (tmp_path / "a.geojson").read_text()
    with pytest.raises(ValueError, match="detection"):
        write_geojson(tmp_path / "a.geojson", RING, object_type="cell")


@pytest.mark.parametrize(
    "content",
    [
        {"type": "FeatureCollection", "features": [feature()]},
        [feature()],
        feature(),
        feature()["geometry"],
        feature("MultiPolygon", [SQUARE]),
        {"type": "Feature", "properties": None,
         "geometry": {"type": "GeometryCollection", "geometries": [feature()["geometry"]]}},
        feature(coordinates=[[[0.6, 0.6], [4.4, 0.6], [4.4, 3.4], [0.6, 3.4]]]),
        feature(coordinates=[[[1, 1, 9], [4, 1, 9], [4, 3, 9], [1, 3, 9], [1, 1, 9]]]),
        feature() | {"geometry": feature(coordinates=[[[0, 0], [9, 0], [9, 9], [0, 0]]])["geometry"],
                     "nucleusGeometry": feature()["geometry"]},
    ],
    ids=["collection", "list", "feature", "geometry", "multi", "geometries", "fractions", "height", "cell"],
)  # fmt: skip
def test_what_other_programs_write(tmp_path, content):
    labels, scores = read_geojson(save(tmp_path / "a.json", content), 5, 6)
    expected = np.zeros((5, 6), int)
    expected[1:3, 1:4] = 1
    assert (labels == expected).all() and np.isnan(scores).tolist() == [True]


@pytest.mark.parametrize(
    ("properties", "score"),
    [
        ({"score": 0.5}, 0.5),
        ({"measurements": {"Score": 1}}, 1.0),
        ({"measurements": [{"name": "Detection probability", "value": 0.25}]}, 0.25),
        ({"measurements": {"area": 3}}, np.nan),
        ({"score": "high", "measurements": None}, np.nan),
    ],
)
def test_scores_are_found_where_others_put_them(tmp_path, properties, score):
    _, scores = read_geojson(save(tmp_path / "a.json", feature(**properties)), 5, 6)
    assert np.array_equal(scores, [score], equal_nan=True)


def test_the_earlier_outline_keeps_the_pixel_and_the_rest_is_cut_off(tmp_path):
    second = feature(coordinates=[[[2, 1], [99, 1], [99, 2], [2, 2]]], score=0.5)
    third = feature(coordinates=[[[1.1, 1.1], [1.2, 1.1], [1.2, 1.2]]])  # holds no centre
    labels, scores = read_geojson(save(tmp_path / "a.json", [feature(), second, third]), 5, 6)
    assert labels[1].tolist() == [0, 1, 1, 1, 2, 2] and (labels == 2).sum() == 2
    assert np.array_equal(scores, [np.nan, 0.5, np.nan], equal_nan=True)


def test_the_outline_with_the_higher_score_has_the_pixel(tmp_path):
    wide = feature(coordinates=[[[0, 0], [4, 0], [4, 2], [0, 2]]], score=0.2)
    other = feature(coordinates=[[[2, 0], [6, 0], [6, 2], [2, 2]]], score=0.9)
    labels, scores = read_geojson(save(tmp_path / "a.json", [wide, other]), 5, 6)
    assert labels[0].tolist() == [1, 1, 2, 2, 2, 2]
    assert scores.tolist() == [0.2, 0.9]


def test_objects_of_one_type_are_read_when_a_file_has_several(tmp_path):
    region = feature(coordinates=[[[0, 0], [6, 0], [6, 5], [0, 5]]], objectType="annotation")
    path = save(tmp_path / "a.json", [region, feature(objectType="detection")])
    with pytest.raises(InputError, match="annotations beside detections"):
        read_geojson(path, 5, 6)
    labels, scores = read_geojson(path, 5, 6, object_type="detection")
    assert labels.sum() == 6 and len(scores) == 1


NESTED = "[" * 200_000
COLLECTION = {"type": "GeometryCollection", "geometries": [feature()["geometry"]]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "JSON"),
        (NESTED, "nested"),
        ('{"type": "FeatureCollection", "features": [NaN]}', "NaN"),
        ("[1e999]", "feature in place 1"),
        ("3", "FeatureCollection"),
        ({"type": "Topology", "objects": {}}, 'of type "Topology"'),
        ({"type": "FeatureCollection", "features": {}}, "an object without a type"),
        ([feature(), {"type": "Image"}], "place 2"),
        (feature("Point", [1, 2]), 'feature 1.*"Point"'),
        (feature() | {"geometry": None}, "feature 1, found nothing"),
        (feature(coordinates=[]), "no list of rings"),
        (feature("MultiPolygon", []), "no list of polygons"),
        (feature() | {"geometry": {"type": "GeometryCollection", "geometries": [COLLECTION]}}, "GeometryCollection"),
        (feature(coordinates=[[[1, 1], [2, 2]]]), "three or more points"),
        (feature(coordinates=[[[1, 1], [2, 2], [3]]]), "three or more points"),
        (feature(coordinates=[[["a", "b"], ["c", "d"], ["e", "f"]]]), "three or more points"),
        (feature(coordinates=[[[1, 1], [2, 2], [{}, 3]]]), "three or more points"),
        (feature(coordinates=[[[1, 1], [2, 2], [10**400, 3]]]), "no image has"),
        (feature(coordinates=[[[0, 0], [1e300, 0], [0, 1e300]]]), "no image has"),
        ('[{"type":"Feature","geometry":{"type":"Polygon","coordinates":[[[0,0],[1e999,0],[0,1]]]}}]', "no image has"),
        (feature(coordinates=[[[6, 0], [9, 0], [9, 5]]]), "inside the image of 5 x 6"),
        ([feature(coordinates=[[[-9, -9], [99, -9], [99, 99], [-9, 99]]])] * 101, "100 times"),
    ],
)  # fmt: skip
def test_malformed_and_hostile_files_are_named(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read_geojson(save(tmp_path / "a.json", content), 5, 6)
    assert caught.value.where.endswith("a.json") and len(str(caught.value)) < 600


def test_missing_and_binary_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.geojson"):
        read_geojson(tmp_path / "nothing.geojson", 5, 6)
    (tmp_path / "b.geojson").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="JSON"):
        read_geojson(tmp_path / "b.geojson", 5, 6)


KEYS = st.sampled_from(["type", "features", "geometry", "coordinates", "properties", "measurements"])
TYPES = st.sampled_from(["Feature", "FeatureCollection", "Polygon", "MultiPolygon"])
LEAVES = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5)


@given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner | TYPES)))
def test_any_json_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(content))
    try:
        labels, scores = read_geojson(path, 4, 4)
    except InputError:
        return
    assert labels.shape == (4, 4) and scores.ndim == 1


def test_the_real_test_masks_come_back(tmp_path, real_label_images):
    for name, labels in real_label_images:
        path = tmp_path / f"{name}.geojson"
        write_geojson(path, labels)
        assert (read_geojson(path, *labels.shape)[0] == labels).all()
        shapes = [shape(one["geometry"]) for one in json.loads(path.read_text())["features"]]
        assert all(one.is_valid for one in shapes)


def test_a_long_text_among_the_points_takes_no_memory(tmp_path):
    """NumPy gives each text of an array the room of the longest: 100,000 x 100,000 x 4 bytes here."""
    points = ["x" * 100_000, *(["y"] * 100_000)]
    (tmp_path / "a.json").write_text(json.dumps(feature(coordinates=[points])))
    tracemalloc.start()
    with pytest.raises(InputError, match="three or more points"):
        read_geojson(tmp_path / "a.json", 5, 6)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def test_a_score_too_large_for_a_number_is_none(tmp_path):
    far = feature() | {"properties": {"score": 10**400}}
    (tmp_path / "a.json").write_text(json.dumps(far))
    assert np.isnan(read_geojson(tmp_path / "a.json", 5, 6)[1]).all()
