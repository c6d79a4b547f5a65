"""Uvicorn around an application: on SIGTERM or Ctrl-C it finishes what it has, takes nothing on, and ends."""

from __future__ import annotations

import signal
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from iadgpt_jax.errors import InputError
from iadgpt_jax.serve.guard import LOOPBACK

CONNECTIONS = 512  # at once; uvicorn answers 503 to more


class Server(uvicorn.Server):
    """Calls `listening` once it can be reached, and says to the application that it is draining before connections are
    closed."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]):
        super().__init__(config)
        self.listening = listening

    async def startup(self, sockets=None) -> None:
        await super().startup(sockets)
        if self.started:
            self.listening()

    def handle_exit(self, sig, frame) -> None:
        self.config.app.state.service.draining = True
        super().handle_exit(sig, frame)


def check_address(host: str, key: str) -> frozenset[str] | None:
    """The names that the server answers to (None: any), of the address it listens at.

    Raises:
      InputError: it can be reached from elsewhere, and no key is asked for.
    """
    if host in LOOPBACK:
        return LOOPBACK
    if not key:
        raise InputError(
            f"--host={host} can be reached from other machines: set IADGPT_API_KEY to a key that clients must give, or "
            "keep to 127.0.0.1"
        )
    return None


def run(app: FastAPI, host: str, port: int, seconds: float, listening: Callable[[], None]) -> None:
    """Serve until told to stop. seconds: that requests may take when the server drains. listening: called once the
    server can be reached.

    Raises:
      InputError: the address cannot be listened at.
    """
    config = uvicorn.Config(
        app, host=host, port=port, log_level="warning", access_log=False, limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=int(seconds) + 1, server_header=False,
    )  # fmt: skip
    server = Server(config, listening)
    # Uvicorn raises the signal again when it has drained; both before and after, it shall only ask the server to end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    try:
        server.run()
    except SystemExit as error:  # uvicorn's way to say that it could not start; its log says why
        raise InputError(f"cannot listen at {host}:{port}; choose another --port") from error
