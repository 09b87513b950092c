"""The page's addresses, with a real model, and everything that they refuse."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import tempfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from skimage.measure import regionprops

pytest.importorskip("starlette", reason='the page: pip install "nucleus[app]" httpx')
pytest.importorskip("uvicorn", reason='the page: pip install "nucleus[app]" httpx')
pytest.importorskip("httpx", reason='the page: pip install "nucleus[app]" httpx')

from starlette.testclient import TestClient

from nucleus.app.limits import Limits
from nucleus.app.refusals import PREFIX
from nucleus.app.routes import build_app

FILE = {"Content-Type": "application/octet-stream"}
HERE = "http://127.0.0.1:7860"


@pytest.fixture(scope="module")
def app(model, examples):
    return build_app(model, examples, Limits())


@pytest.fixture(scope="module")
def client(app):
    return TestClient(app, base_url=HERE)


@pytest.fixture(scope="module")
def key(client, png):
    """Of an image that was uploaded."""
    return upload(client, png, name="my%20cells.png")[-1]["key"]


def upload(client, content, name="cells.png", **query):
    response = client.post("/api/images", params=query, content=content, headers=FILE | {"X-Image-Name": name})
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def test_the_page_itself(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "<script>" not in page.text and "style=" not in page.text and "http" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for name in ("page.css", "page.js", "viewer.js", "table.js", "threshold.js", "server.js", "icon.svg"):
        assert client.get(f"/static/{name}").status_code == 200
    settings = client.get("/api/settings").json()
    assert settings["examples"] == [{"key": "first", "title": "First <example>"}] and settings["threshold"] == 0.5
    assert {one["name"] for one in settings["formats"]} >= {"labels", "geojson", "measurements", "overlay"}


def test_from_an_upload_to_nuclei(client, key, model, image):
    found = client.get(f"/api/images/{key}/nuclei").json()
    expected = model.predict(image)
    assert (found["width"], found["height"], found["bits"]) == (128, 96, 8)
    assert sum(score >= 0.5 for score in found["scores"]) == len(expected) > 2
    for index, outline in enumerate(found["outlines"]):
        points = np.array(outline[0]).reshape(-1, 2)
        assert len(points) >= 4 and (points <= (128, 96)).all() and (points >= 0).all()
        if index < len(expected):
            assert points.min(axis=0).tolist() == expected.boxes[index, :2].tolist() or len(outline) > 1
    picture = cv2.imdecode(np.frombuffer(client.get(f"/api/images/{key}/picture").content, np.uint8), 1)
    assert np.array_equal(picture[..., ::-1], image)


@pytest.mark.parametrize("threshold", ["0.05", "0.4", "0.5", "0.7", "1"])
def test_the_table_is_what_is_downloaded(client, key, threshold):
    found = client.get(f"/api/images/{key}/nuclei").json()
    count = sum(score >= float(threshold) for score in found["scores"])
    response = client.get(f"/api/images/{key}/download/measurements", params={"threshold": threshold})
    assert response.headers["content-disposition"].endswith("filename*=UTF-8''my%20cells_measurements.csv")
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [int(row["label"]) for row in rows] == list(range(1, count + 1))
    for column in found["columns"]:
        values = [float(row[column["key"]]) for row in rows]
        np.testing.assert_allclose(values, column["values"][:count], rtol=1e-9)
    labels = tifffile.imread(io.BytesIO(client.get(f"/api/images/{key}/download/labels?threshold={threshold}").content))
    assert [one.area for one in regionprops(labels)] == [float(row["area_px"]) for row in rows]


def test_every_format_and_all_together(client, key):
    names = {}
    for one in client.get("/api/settings").json()["formats"]:
        response = client.get(f"/api/images/{key}/download/{one['name']}?threshold=0.5")
        assert response.status_code == (200 if one["available"] else 501)
        if one["available"]:
            names[f"my cells/my cells{one['suffix']}"] = response.content
    archive = zipfile.ZipFile(io.BytesIO(client.get(f"/api/images/{key}/download/all?threshold=0.5").content))
    assert archive.testzip() is None and set(archive.namelist()) == set(names)
    assert archive.read("my cells/my cells.geojson") == names["my cells/my cells.geojson"]


def test_channels_are_asked_about(client, image):
    file = io.BytesIO()
    tifffile.imwrite(file, image.transpose(2, 0, 1)[:2], ome=True, photometric="minisblack", metadata={"axes": "CYX"})
    assert upload(client, file.getvalue())[-1] == {
        "state": "choose",
        "choices": {"series": [], "channels": ["Channel 0", "Channel 1"], "pages": 1},
    }
    done = upload(client, file.getvalue(), channels="1")[-1]
    found = client.get(f"/api/images/{done['key']}/nuclei").json()
    assert found["choice"] == {"series": None, "channels": [1], "page": None}
    assert found["columns"][-1]["title"] == "Mean intensity"


def test_forgetting(client, png):
    key = upload(client, png)[-1]["key"]
    assert client.delete(f"/api/images/{key}").status_code == 204
    answer = client.get(f"/api/images/{key}/nuclei")
    assert (answer.status_code, "no longer kept" in answer.json()["error"]) == (404, True)


@pytest.mark.parametrize("content", [b"hello", b"\x89PNG\r\n\x1a\n" + bytes(99), b"II*\0" + b"\xff" * 99, b"<svg/>"])
def test_broken_files(client, content):
    last = upload(client, content)[-1]
    assert (last["state"], last["status"]) == ("failed", 422)
    assert last["error"].startswith("This file could not be") and tempfile.gettempdir() not in last["error"]


def test_a_truncated_file(client, png):
    tiff = io.BytesIO()
    tifffile.imwrite(tiff, np.random.default_rng(0).integers(0, 99, (64, 64), dtype=np.uint8), compression="zlib")
    for content in (png[:200], tiff.getvalue()[:500], tiff.getvalue()[:-300]):
        last = upload(client, content)[-1]
        assert last["state"] in ("failed", "done") and "Traceback" not in json.dumps(last)
        assert last.get("status", 422) == 422


def test_nothing_is_left_on_the_disk(client, png):
    before = set(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))
    key = upload(client, png)[-1]["key"]
    upload(client, b"broken")
    client.get(f"/api/images/{key}/download/all?threshold=0.5")
    assert set(Path(tempfile.gettempdir()).glob(f"{PREFIX}*")) <= before


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/static/../routes.py", 404),
        ("/static/..%2froutes.py", 404),
        ("/static/%2e%2e/%2e%2e/cli/app.py", 404),
        ("/static//etc/passwd", 404),
        ("/examples/../../etc/passwd", 404),
        ("/examples/first", 404),
        ("/api/images", 405),
        ("/api/images/abc/nuclei", 404),
        ("/api/images/abc/download/labels?threshold=0.5", 404),
        ("/.git/config", 404),
        ("/%00", 404),
    ],
)
def test_path_probing(client, path, status):
    answer = client.get(path)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])


@pytest.mark.parametrize(
    "query", ["", "threshold=", "threshold=nan", "threshold=0.01", "threshold=2", "threshold=1e999"]
)
def test_thresholds_that_make_no_sense(client, key, query):
    assert client.get(f"/api/images/{key}/download/labels?{query}").status_code == 400


def test_requests_that_make_no_sense(client, key, png):
    assert client.get(f"/api/images/{key}/download/exe?threshold=0.5").status_code == 404
    for query in ("channels=x", "page=-1", "series=1.5", "page=99999999", "channels=²"):
        assert client.post(f"/api/images?{query}", content=png, headers=FILE).status_code == 400
    assert client.post("/api/images", content=png).status_code == 415
    assert client.post("/api/images", files={"file": png}).status_code == 415
    assert client.post("/api/images", content=b"", headers=FILE).status_code == 400
    assert client.put("/api/images", content=png).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "localhost:9999"}, 200),
        ({"Host": "[::1]:7860"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example:7860"}, 403),
        ({"Host": "192.168.1.7:7860"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": HERE}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:8000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_other_sites_are_kept_out(client, png, headers, status):
    answer = client.post("/api/images", content=png, headers=FILE | headers)
    assert answer.status_code == status
    if status == 403:
        assert list(answer.json()) == ["error"]


def test_hosts_on_a_network(model, examples):
    client = TestClient(build_app(model, examples, Limits(), "0.0.0.0"), base_url="http://192.168.1.7:7860")
    assert client.get("/").status_code == 200
    assert client.get("/", headers={"Host": "localhost"}).status_code == 200
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403


def test_behind_a_server_with_another_name(model, examples, png):
    app = build_app(model, examples, Limits(), known_as=["Nuclei.lab.example"])
    client = TestClient(app, base_url=HERE)

    def status(host, origin):
        return client.post("/api/images", content=png, headers=FILE | {"Host": host, "Origin": origin}).status_code

    for host in ("nuclei.lab.example", "127.0.0.1:7860"):  # as it is, or put in by the server
        assert status(host, "https://nuclei.lab.example") == 200
        assert status(host, "https://evil.example") == status(host, "https://x.nuclei.lab.example") == 403
    assert status("lab.example", "https://nuclei.lab.example") == 403
    assert status("nuclei.lab.example", "http://nuclei.lab.example:9999") == 403  # another service of that machine


def test_limits(model, examples, png):
    app = build_app(model, examples, Limits(upload_bytes=1 << 20, pixels=10_000, kept_bytes=1, places=1))
    client = TestClient(app, base_url=HERE)
    large = client.post("/api/images", content=bytes((1 << 20) + 1), headers=FILE)
    assert (
        large.status_code == 413
        and "up to 1 MiB" in large.json()["error"]
        and "nucleus predict" in large.json()["error"]
    )
    undeclared = client.post("/api/images", content=iter([bytes(1 << 19)] * 3), headers=FILE)
    assert undeclared.status_code == 413
    last = upload(client, png)[-1]
    assert (last["state"], last["status"]) == ("failed", 413) and "128 x 96 pixels" in last["error"]
    with app.state.line.place():
        full = client.post("/api/images", content=png, headers=FILE)
    assert full.status_code == 503 and full.headers["retry-after"] == "5" and "waiting" in full.json()["error"]
    assert app.state.line.taken == 0
    small = cv2.imencode(".png", np.zeros((40, 40), dtype=np.uint8))[1].tobytes()
    keys = [upload(client, small)[-1]["key"] for _ in range(3)]
    assert [client.get(f"/api/images/{key}/nuclei").status_code for key in keys] == [404, 404, 200]


@pytest.mark.parametrize("pieces", [0, 3])
def test_slow_uploads_are_stopped(model, examples, pieces):
    app = build_app(model, examples, Limits(stall_seconds=0.1, upload_seconds=0.2))
    sent = []

    async def scenario():
        left = iter(range(pieces))

        async def receive():
            if next(left, None) is None:
                await asyncio.sleep(60)
            await asyncio.sleep(0.05)
            return {"type": "http.request", "body": b"x", "more_body": True}

        async def send(message):
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", b"application/octet-stream")]
        scope = {"type": "http", "method": "POST", "path": "/api/images", "query_string": b"", "headers": headers}
        await asyncio.wait_for(app(scope, receive, send), 5)

    asyncio.run(scenario())
    assert sent[0]["status"] == 408 and b"took too long" in sent[1]["body"]
    assert app.state.line.taken == 0


def test_a_user_who_goes_away_leaves_no_place_taken(model, examples):
    app = build_app(model, examples, Limits())

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        raise AssertionError(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/octet-stream")]
    scope = {"type": "http", "method": "POST", "path": "/api/images", "query_string": b"", "headers": headers}
    asyncio.run(app(scope, receive, send))
    assert app.state.line.taken == 0


def test_what_should_not_happen_is_a_sentence(model, examples, png, monkeypatch):
    app = build_app(model, examples, Limits())

    def fail(*arguments):
        raise RuntimeError("secret /home/me/model.pth")

    monkeypatch.setattr("nucleus.app.routes.find_nuclei", fail)
    last = upload(TestClient(app, base_url=HERE), png)[-1]
    assert last["status"] == 500 and "secret" not in json.dumps(last) and "terminal" in last["error"]
