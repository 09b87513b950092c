"""The addresses of the page, and what each answers.

    GET    /, /static/NAME                      the page
    GET    /api/settings                        limits, formats, examples, the model's threshold
    GET    /examples/KEY.png                    an example image
    POST   /api/images                          a file as the body; one line of JSON for each change of state:
                                                waiting, running, then choose, failed or done with the image's key
    GET    /api/images/KEY/nuclei, .../picture  outlines, scores and measurements from score 0.05 on; the picture
    GET    /api/images/KEY/download/FORMAT      a file, at ?threshold=
    DELETE /api/images/KEY                      forget it

Errors are JSON: {"error": sentence}.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import aclosing
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from nucleus.app.downloads import described_formats, make_download
from nucleus.app.examples import Example
from nucleus.app.finding import LOWEST, find_nuclei
from nucleus.app.guard import Guard
from nucleus.app.limits import Limits
from nucleus.app.line import AbandonedError, Line, Running, Waiting
from nucleus.app.names import attachment, safe_name
from nucleus.app.reading import Choice, ChoiceNeededError, read_picture
from nucleus.app.refusals import PREFIX, UPLOADED, RefusalError, sentence_of
from nucleus.app.result import Result, make_result
from nucleus.app.shelf import Shelf
from nucleus.app.upload import GoneError, receive_file
from nucleus.errors import InputError, is_out_of_memory

if TYPE_CHECKING:
    from nucleus.inference.predictor import Model

MEDIA_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
DOWNLOADS_AT_ONCE = 2
BROKEN = "Something went wrong here that should not have; the terminal of “nucleus app” says more."
logger = logging.getLogger(__name__)


def build_app(
    model: Model,
    examples: list[Example],
    limits: Limits,
    host: str = "127.0.0.1",
    known_as: Collection[str] = (),
) -> Guard:
    """Build the page.

    Args:
        model: that finds the nuclei.
        examples: images to try.
        limits: what it takes.
        host: that the server will listen on.
        known_as: other names that it is reached by; see `nucleus.app.guard`.

    Returns:
        An ASGI application. Its state has `line`, to be closed at the end, and `shelf`.
    """
    page = _Page(model, examples, limits)
    one = "/api/images/{key}"
    routes = [
        Route("/", page.static),
        Route("/static/{name}", page.static),
        Route("/examples/{name}", page.example),
        Route("/api/settings", page.settings),
        Route("/api/images", _Upload(page), methods=["POST"]),
        Route(one, page.forget, methods=["DELETE"]),
        Route(f"{one}/nuclei", page.nuclei),
        Route(f"{one}/picture", page.picture),
        Route(f"{one}/download/{{format}}", page.download),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={RefusalError: _refused, InputError: _refused, HTTPException: _unknown, Exception: _broken},
    )
    app.state.line, app.state.shelf = page.line, page.shelf
    return Guard(app, host, known_as)


class _Page:
    """Everything that the addresses share."""

    def __init__(self, model: Model, examples: list[Example], limits: Limits) -> None:
        self.model = model
        self.examples = examples
        self.limits = limits
        self.line = Line(limits.places)
        self.shelf = Shelf(limits.kept_bytes)
        self.downloads = CapacityLimiter(DOWNLOADS_AT_ONCE)
        # Read once: no request names a file of this machine.
        self.files = {
            one.name: one.read_bytes() for one in files("nucleus.app").joinpath("static").iterdir() if one.is_file()
        }

    async def static(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in self.files:
            raise HTTPException(404)
        return Response(self.files[name], media_type=MEDIA_TYPES[name.rsplit(".", 1)[-1]])

    async def example(self, request: Request) -> Response:
        for one in self.examples:
            if request.path_params["name"] == f"{one.key}.png":
                return Response(one.png, media_type="image/png")
        raise HTTPException(404)

    async def settings(self, request: Request) -> Response:
        return JSONResponse({
            "uploadBytes": self.limits.upload_bytes,
            "pixels": self.limits.pixels,
            "threshold": max(self.model.threshold, LOWEST),
            "formats": described_formats(),
            "examples": [{"key": one.key, "title": one.title} for one in self.examples],
        })  # fmt: skip

    async def nuclei(self, request: Request) -> Response:
        return Response(self._result(request).nuclei, media_type="application/json")

    async def picture(self, request: Request) -> Response:
        return Response(self._result(request).picture, media_type="image/png")

    async def download(self, request: Request) -> Response:
        result, threshold = self._result(request), _threshold(request.query_params.get("threshold", ""))
        name, media_type, content = await to_thread.run_sync(
            make_download, result, request.path_params["format"], threshold, limiter=self.downloads
        )
        return Response(content, media_type=media_type, headers={"Content-Disposition": attachment(name)})

    async def forget(self, request: Request) -> Response:
        self.shelf.drop(request.path_params["key"])
        return Response(status_code=204)

    def _result(self, request: Request) -> Result:
        return self.shelf.get(request.path_params["key"])

    def work(self, path: Path, name: str, choice: Choice) -> Callable[[Callable[[int, int], None]], str]:
        """What is done in the line for one file: read, find, measure, keep."""

        def run(progress: Callable[[int, int], None]) -> str:
            picture = read_picture(path, choice, self.limits)
            path.unlink()
            start = time.perf_counter()
            found = find_nuclei(picture, self.model, progress)
            return self.shelf.put(make_result(name, picture, found, time.perf_counter() - start))

        return run


class _Upload:
    """POST /api/images, as an ASGI application: its place in the line and its temporary file end with the answer,
    however that ends."""

    def __init__(self, page: _Page) -> None:
        self.page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        choice, name = _choice(request), safe_name(request.headers.get("x-image-name", ""))
        with self.page.line.place(), TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
            path = Path(folder) / UPLOADED
            try:
                await receive_file(request, path, self.page.limits)
            except GoneError:
                return
            states = self._states(self.page.work(path, name, choice))
            await StreamingResponse(states, media_type="application/x-ndjson")(scope, receive, send)

    async def _states(self, work: Callable[[Callable[[int, int], None]], str]) -> AsyncIterator[bytes]:
        try:
            async with aclosing(self.page.line.run(work)) as steps:
                async for step in steps:
                    if isinstance(step, Waiting):
                        yield _line(state="waiting", ahead=step.ahead)
                    elif isinstance(step, Running):
                        yield _line(state="running", done=step.done, total=step.total)
                    else:
                        yield _line(state="done", key=step.value)
        except ChoiceNeededError as asked:
            yield _line(state="choose", choices=asked.choices.as_dict())
        except RefusalError as refusal:
            yield _line(state="failed", status=refusal.status, error=refusal.sentence)
        except InputError as error:
            yield _line(state="failed", status=422, error=sentence_of(error))
        except AbandonedError:
            yield _line(state="failed", status=503, error="The page is being shut down.")
        except Exception as error:
            if is_out_of_memory(error):
                yield _line(state="failed", status=413, error="This image needs more memory than there is.")
            else:
                logger.exception("an image could not be worked on")
                yield _line(state="failed", status=500, error=BROKEN)


def _line(**state: Any) -> bytes:
    return json.dumps(state).encode() + b"\n"


def _choice(request: Request) -> Choice:
    query = request.query_params
    series, page = (None if name not in query else _whole(query[name]) for name in ("series", "page"))
    channels = tuple(map(_whole, query["channels"].split(",")[:4])) if "channels" in query else None
    return Choice(series, channels, page)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise RefusalError(400, "A channel, page or image is chosen by a whole number from 0.")
    return int(text)


def _threshold(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not LOWEST <= value <= 1:
        raise RefusalError(400, f"The score threshold is a number from {LOWEST:g} to 1.")
    return value


async def _refused(request: Request, error: Exception) -> Response:
    refusal = error if isinstance(error, RefusalError) else RefusalError(422, sentence_of(error))  # type: ignore[arg-type]
    headers = {"Retry-After": str(refusal.retry_seconds)} if refusal.retry_seconds else None
    return JSONResponse({"error": refusal.sentence}, refusal.status, headers=headers)


async def _unknown(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    return JSONResponse({"error": "There is nothing at this address."}, status)


async def _broken(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": BROKEN}, 500)  # the server logs the error
