"""What stands before every route: who may ask, how much a body may hold and how long it may take, and what is counted.

A page in a browser can send requests to any server its machine reaches, loopback too. So a server on loopback answers
to loopback's own names only, and no server to another site's page.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from urllib.parse import urlsplit

from absl import logging
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from iadgpt_jax.errors import InputError
from iadgpt_jax.serve.limits import Limits
from iadgpt_jax.serve.metrics import Metrics
from iadgpt_jax.serve.refusals import Refused, invalid

OPEN = ("/health",)  # asked by load balancers, which have no key
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """ASGI middleware around the whole application. key: that requests must carry; "" for none. hosts: names that the
    server answers to; None for any."""

    def __init__(
        self, app: ASGIApp, limits: Limits, metrics: Metrics, key: str = "", hosts: frozenset[str] | None = LOOPBACK
    ):
        self.app, self.limits, self.metrics, self.key, self.hosts = app, limits, metrics, key, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, status = time.monotonic(), 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._check(scope)
            await self.app(scope, self._bounded(receive), counted)
        except (Refused, InputError) as error:
            refused = error if isinstance(error, Refused) else invalid(error)
            await answer(refused)(scope, receive, counted)
        except Exception:
            if status != 500:  # the answer has begun: what is left is to end the connection
                raise
            logging.exception("a request failed")
            told = Refused("internal", "this is a fault of the server; its log says more")
            await answer(told)(scope, receive, counted)
        finally:
            route = getattr(scope.get("route"), "path", "other")  # addresses that strangers make up would never end
            method = scope["method"] if route != "other" and status != 405 else "any"  # nor would methods
            self.metrics.requests.labels(method, route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.monotonic() - started)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = _host(headers.get("host", ""))
        if self.hosts is not None and host not in self.hosts:
            raise Refused("forbidden", f"this server is not called {host[:80]!r}; address it as localhost or 127.0.0.1")
        origin = headers.get("origin")
        if origin is not None and _netloc(origin) != headers.get("host", "").lower():
            raise Refused("forbidden", "pages of other sites may not use this server")
        if self.key and scope["path"] not in OPEN:
            given = headers.get("authorization", "").removeprefix("Bearer ") or headers.get("x-api-key", "")
            if not hmac.compare_digest(given.encode("latin-1"), self.key.encode(errors="surrogateescape")):
                raise Refused("unauthorized", "give the key of this server: Authorization: Bearer KEY")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.limits.body_bytes:
            raise self._too_large()

    def _bounded(self, receive: Receive) -> Receive:
        taken, whole = 0, False

        async def bounded() -> Message:
            nonlocal taken, whole
            if whole:  # what comes now is that the client has left
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self.limits.seconds)
            except TimeoutError as error:
                raise Refused("timeout", f"no more of the body came for {self.limits.seconds:g} s") from error
            whole = not message.get("more_body", False)
            taken += len(message.get("body", b""))
            if taken > self.limits.body_bytes:
                raise self._too_large()
            return message

        return bounded

    def _too_large(self) -> Refused:
        return Refused(
            "too_large", f"the request has more than {self.limits.body_bytes:,} bytes; send fewer photographs at once"
        )


def answer(refused: Refused) -> JSONResponse:
    """A refusal as a response."""
    return JSONResponse(refused.body, refused.status, refused.headers)


def _host(header: str) -> str:
    """The name in a Host header, in small letters, without its port."""
    header = header.lower()
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _netloc(origin: str) -> str | None:
    """Host and port of an Origin header; None where it is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
