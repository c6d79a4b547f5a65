"""The HTTP interface: products, inspections, chats, health and metrics. docs/server.md lists the routes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import prometheus_client
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from iadgpt_jax import __version__
from iadgpt_jax.errors import InputError, printable
from iadgpt_jax.infer.inspector import Asked, Inspector, Said
from iadgpt_jax.infer.product import MOST_PIXELS, make_in_steps
from iadgpt_jax.infer.product_file import product_bytes, product_of_bytes
from iadgpt_jax.infer.threshold import SHARE
from iadgpt_jax.infer.tiles import Tiled, parse_tiles
from iadgpt_jax.serve import chat
from iadgpt_jax.serve.device import Device, Steps
from iadgpt_jax.serve.forms import files_of, form_of, number_of, text_of, type_of
from iadgpt_jax.serve.guard import LOOPBACK, Guard, answer
from iadgpt_jax.serve.limits import Limits
from iadgpt_jax.serve.metrics import Metrics
from iadgpt_jax.serve.photographs import Photograph, decoded, to_inspect
from iadgpt_jax.serve.pictures import as_json, described, map_png, overlay_png
from iadgpt_jax.serve.ready import Catalog, Ready
from iadgpt_jax.serve.refusals import Refused, invalid

T = TypeVar("T")
JSON = "application/json"
ZIP = ("application/zip", "application/octet-stream", "application/x-zip-compressed")
GONE = 499  # nginx's status for a client that left; nobody reads it


class Service:
    """What the routes share: the model's thread, threads that decode photographs, products, limits and counters."""

    def __init__(self, catalog: Catalog, limits: Limits):
        self.catalog, self.limits, self.metrics = catalog, limits, Metrics()
        self.device = Device(limits, self.metrics)
        self.hands = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="photographs")
        self.draining = False  # no connection is accepted any more; requests that came before are answered
        self.metrics.products.set_function(lambda: len(catalog.names()))

    def close(self) -> None:
        """Finish what was taken on."""
        self.draining = True
        self.device.close()
        self.hands.shutdown()

    def by_hand(self, work: Callable[..., T], *arguments) -> Awaitable[T]:
        """Work for the host, off the event loop."""
        return asyncio.get_running_loop().run_in_executor(self.hands, functools.partial(work, *arguments))

    async def ready(self, name: str) -> Ready:
        """Raises Refused 404 where there is no such product, 409 where it is of another model or damaged."""
        try:
            found = await self.by_hand(self.catalog.get, name)
        except InputError as error:
            raise Refused("conflict", str(error)) from error
        if found is None:
            raise Refused("not_found", f"there is no product {name[:80]!r}; GET /products lists them")
        return found

    async def of_product(self, name: str, work: Callable[[], T]) -> T:
        """What is done with a product's files. Raises Refused as `ready`, also where the product goes meanwhile."""
        await self.ready(name)
        try:
            return await self.by_hand(work)
        except InputError:
            await self.ready(name)
            raise

    async def unless_gone(self, request: Request, work: Awaitable[T], seconds: float | None = None) -> T:
        """Wait for the work, no longer than `seconds` (default: limits.seconds), nor for a client that has left: then
        it is cancelled.

        Raises:
          Refused: the time is over.
          ClientLeft: nobody waits.
        """
        seconds = seconds or self.limits.seconds
        task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if task.done() and not task.cancelled():
                return task.result()
            if gone.done():
                raise ClientLeft
            raise Refused("unavailable", f"not answered within {seconds:g} s; send it again")
        finally:
            for one in (task, gone):
                one.cancel()


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


def make_service(
    catalog: Catalog, limits: Limits | None = None, key: str = "", hosts: frozenset[str] | None = LOOPBACK
) -> FastAPI:
    """The application. key: that requests must carry; "" for none. hosts: names it answers to; None for any."""
    service = Service(catalog, limits or Limits())

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(title="IADGPT", version=__version__, lifespan=lifespan, redoc_url=None, docs_url=None)
    app.state.service = service
    app.add_middleware(Guard, limits=service.limits, metrics=service.metrics, key=key, hosts=hosts)
    _refusals(app)
    _about(app, service)
    _products(app, service)
    _inspections(app, service)
    _chats(app, service)
    return app


def _refusals(app: FastAPI) -> None:
    """Every refusal in one form, those of the framework, too."""

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return answer(error)

    @app.exception_handler(InputError)
    async def faulty(_: Request, error: InputError) -> Response:
        return answer(invalid(error))

    @app.exception_handler(ClientLeft)
    async def left(_: Request, error: ClientLeft) -> Response:
        return Response(status_code=GONE)

    @app.exception_handler(RequestValidationError)
    async def mistyped(_: Request, error: RequestValidationError) -> Response:
        told = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors())
        return answer(Refused("invalid_request", told))

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> Response:
        return JSONResponse(
            {"error": {"message": error.detail, "type": "http", "code": error.status_code}},
            error.status_code,
            error.headers,
        )


# ---- Health, metrics, the model ----


def _about(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    async def health() -> JSONResponse:
        told = {"status": "draining" if service.draining else "ok", "checkpoint": service.catalog.checkpoint}
        return JSONResponse(told, 503 if service.draining else 200)

    @app.get("/metrics")
    async def metrics() -> Response:
        text = await service.by_hand(prometheus_client.generate_latest, service.metrics.registry)
        return Response(text, media_type=prometheus_client.CONTENT_TYPE_LATEST)

    @app.get("/v1/models")
    async def models() -> dict:
        return {"object": "list", "data": [{"id": chat.MODEL, "object": "model", "created": 0, "owned_by": "local"}]}


# ---- Products ----


def _products(app: FastAPI, service: Service) -> None:
    catalog = service.catalog

    @app.get("/products")
    async def listed() -> dict:
        """Those that can be used, and why the others cannot."""
        usable, faulty = [], []
        for name in await service.by_hand(catalog.names):
            try:
                if found := await service.by_hand(catalog.get, name):
                    usable.append(described(found.product))
            except InputError as error:
                faulty.append({"name": printable(name), "why": printable(str(error))})
        return {"products": usable, "faulty": faulty}

    @app.get("/products/{name}")
    async def shown(name: str) -> dict:
        return described((await service.ready(name)).product)

    @app.post("/products", status_code=201)
    async def made(request: Request) -> dict:
        """Form: name, reference (files), good (files, more good parts to choose the threshold by), share, ratio, side,
        tiles, replace."""
        async with form_of(request, service.limits.photographs) as form:
            name = text_of(form, "name", "")
            share, ratio = number_of(form, "share", SHARE), number_of(form, "ratio", catalog.inspector.ratio)
            tiles = parse_tiles(text_of(form, "tiles", "1x1"))
            inspector = catalog.under(ratio, int(number_of(form, "side", catalog.inspector.side)), tiles)
            service.limits.check_tokens(inspector.side, catalog.inspector.unit, len(files_of(form, "reference")), tiles)
            replace = text_of(form, "replace", "false") == "true"
            references = await _references(service, form)
            further = await _squares(service, form, inspector)
        if not replace and name in catalog.names():
            raise Refused("conflict", f"there is a product {name!r} already; choose another name, or send replace=true")
        making = service.device.steps(
            lambda: make_in_steps(name, references, inspector, catalog.checkpoint, further, share)
        )
        try:
            product = await service.unless_gone(request, _value_of(making), service.limits.making_seconds)
        finally:
            making.cancel()
        return described((await service.by_hand(catalog.save, product, replace)).product)

    @app.post("/products/import", status_code=201)
    async def imported(request: Request, replace: bool = False) -> dict:
        if type_of(request) not in ZIP:
            raise Refused("unsupported_type", "send an exported product as application/zip")
        product = await service.by_hand(product_of_bytes, await request.body(), "the product sent")
        unit, references = catalog.inspector.unit, len(product.references)
        service.limits.check_tokens(product.side, unit, references, product.tiles)
        if not replace and product.name in catalog.names():
            raise Refused("conflict", f"there is a product {product.name!r} already; send it with ?replace=true")
        return described((await service.by_hand(catalog.save, product, replace)).product)

    @app.get("/products/{name}/export")
    async def exported(name: str) -> Response:
        data = await service.of_product(name, lambda: product_bytes(catalog.whole(name)))
        return Response(data, media_type=ZIP[0], headers={"Content-Disposition": 'attachment; filename="product.zip"'})

    @app.put("/products/{name}/share")
    async def rethought(name: str, share: float) -> dict:
        """The threshold for another share of good parts, from the margins that were measured."""
        return described((await service.of_product(name, lambda: catalog.with_share(name, share))).product)

    @app.delete("/products/{name}", status_code=204)
    async def removed(name: str) -> None:
        if not await service.by_hand(catalog.remove, name):
            raise Refused("not_found", f"there is no product {name[:80]!r}; GET /products lists them")


# ---- Inspections ----


def _inspections(app: FastAPI, service: Service) -> None:
    limits = service.limits

    @app.post("/products/{name}/inspect")
    async def inspected(
        request: Request, name: str, explain: bool = False, pictures: bool = False, picture: str = ""
    ) -> Response:
        """Form: photograph (files); or one photograph as the body. explain: in words, too. pictures: with overlay and
        map. picture: "overlay" or "map", the answer is that PNG alone (as with Accept: image/png)."""
        ready = await service.ready(name)
        if not picture and request.headers.get("accept", "").startswith("image/png"):
            picture = "overlay"
        if picture not in ("", "overlay", "map"):
            raise Refused("invalid_request", f"picture is {picture[:80]!r}; choose overlay or map")
        photographs = await _photographs(request, service, ready)
        if picture and len(photographs) > 1:
            raise Refused("invalid_request", "a picture answers one photograph; send one, or ask for pictures=true")
        futures = service.device.inspect(ready, [one.square for one in photographs], explain)
        try:
            waited = asyncio.gather(*map(asyncio.wrap_future, futures))
            found = await service.unless_gone(request, waited)
        finally:
            for future in futures:
                future.cancel()
        for one in found:
            service.metrics.verdicts.labels("bad" if ready.product.threshold.rejects(one.margin) else "good").inc()
        if picture:
            draw = overlay_png if picture == "overlay" else map_png
            png = await service.by_hand(draw, ready.product, photographs[0], found[0])
            told = {"X-IADGPT-Score": f"{found[0].score:.6f}", "X-IADGPT-Margin": f"{found[0].margin:.6f}"}
            told["X-IADGPT-Defective"] = str(ready.product.threshold.rejects(found[0].margin)).lower()
            return Response(png, media_type="image/png", headers=told)
        results = [
            await service.by_hand(as_json, ready.product, photograph, one, pictures)
            for photograph, one in zip(photographs, found, strict=True)
        ]
        threshold = {"score": ready.product.threshold.score, "margin": ready.product.threshold.margin}
        return JSONResponse({"product": name, "threshold": threshold, "results": results})

    async def _photographs(request: Request, service: Service, ready: Ready) -> list[Photograph]:
        canvas, unit = ready.canvas, ready.inspector.unit
        if type_of(request).startswith("image/"):
            body = await request.body()
            return [await service.by_hand(to_inspect, body, "photograph", canvas, unit, limits.shown_side)]
        async with form_of(request, limits.photographs) as form:
            files = files_of(form, "photograph")
            if not files:
                raise Refused("invalid_request", "send at least one file as photograph")
            return [
                await service.by_hand(
                    to_inspect, await file.read(), file.filename or "", canvas, unit, limits.shown_side
                )
                for file in files
            ]


# ---- Chats ----


def _chats(app: FastAPI, service: Service) -> None:
    @app.post("/v1/chat/completions")
    async def completed(request: Request) -> Response:
        if type_of(request) != JSON:
            raise Refused("unsupported_type", f"send the chat as {JSON}")
        asked = await service.by_hand(chat.parse, await request.body(), service.limits)
        inspector, question = service.catalog.inspector, asked.messages
        if asked.product:
            ready = await service.ready(asked.product)
            inspector, (query, text, history) = ready.chat, chat.about_query(asked.messages)
            question = Asked(text, query, ready.product.references, history)
        speech = service.device.steps(
            lambda: inspector.stream(question, max_new=asked.max_new, sampling=asked.sampling)
        )
        pieces, completion = aiter(speech), chat.Completion()
        if not asked.stream:
            try:
                said = await service.unless_gone(request, _value_of(speech))
            finally:
                speech.cancel()
            service.metrics.pieces.inc()
            return JSONResponse(completion.whole(said))
        try:  # the first piece is waited for here, so that what fails before it has a status of its own
            first = await service.unless_gone(request, _first_of(pieces))
        except BaseException:
            speech.cancel()
            raise
        return StreamingResponse(_events(service, speech, first, pieces, completion), media_type="text/event-stream")


async def _events(
    service: Service, speech: Steps, first: str | None, pieces: AsyncIterator[str], completion: chat.Completion
) -> AsyncIterator[bytes]:
    """The answer as server-sent events; given up when the client is gone."""
    try:
        if first is not None:
            service.metrics.pieces.inc()
            yield completion.chunk(first)
            async for piece in pieces:
                service.metrics.pieces.inc()
                yield completion.chunk(piece)
        said: Said = speech.value
        yield completion.end(said)
    except (Refused, InputError) as error:
        yield completion.failed(error if isinstance(error, Refused) else invalid(error))
    finally:
        speech.cancel()


# ---- Between the two ----


async def _value_of(steps: Steps):
    async for _ in steps:
        pass
    return steps.value


async def _first_of(pieces: AsyncIterator[str]) -> str | None:
    return await anext(pieces, None)


async def _left(request: Request) -> None:
    """Returns when the client has closed the connection. Its body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _references(service: Service, form: FormData) -> list[np.ndarray]:
    """The photographs that a product keeps as they are."""
    pictures = []
    for file in files_of(form, "reference"):
        data = await file.read()  # small, and may hold many pixels all the same
        pictures.append(await service.by_hand(decoded, data, file.filename or "", tuple(pictures), MOST_PIXELS))
    return pictures


async def _squares(service: Service, form: FormData, inspector: Inspector | Tiled) -> list[np.ndarray]:
    """The photographs that are measured only, each at the size at which parts will be inspected."""
    canvas = inspector.tiles[0] * inspector.side, inspector.tiles[1] * inspector.side
    settings = canvas, inspector.unit, max(canvas)
    files = files_of(form, "good")
    found = [await service.by_hand(to_inspect, await file.read(), file.filename or "", *settings) for file in files]
    return [one.square for one in found]
