"""The server on real sockets: clients that leave cost nobody anything, and SIGTERM loses no answer."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra [app] is not installed")

import httpx2
import uvicorn
from starlette.testclient import TestClient

from iadgpt_jax.checkpoint.load import LoadedModel, open_checkpoint
from iadgpt_jax.checkpoint.workdir import save_model
from iadgpt_jax.data.images import encode_png
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.inspector import Inspector
from iadgpt_jax.infer.product import checkpoint_name
from iadgpt_jax.infer.product_file import save_product
from iadgpt_jax.serve.limits import Limits
from iadgpt_jax.serve.ready import Catalog
from iadgpt_jax.serve.run import check_address
from iadgpt_jax.serve.service import make_service
from launch.local import free_port
from tests.serve.stub import CHECKPOINT, Stub, flat, product
from tests.serve.test_service import INSPECT, chat_about, photograph, queued, until
from tests.small_iadgpt import lively_params, small_config

ROOT = Path(__file__).resolve().parents[2]
INFO = {"image_side": 84, "map_space": "probability"}


@contextlib.contextmanager
def listening(folder, limits=None):
    """(port, application, stub) of a server with a stub model, in a thread."""
    stub, port = Stub(), free_port()
    save_product(product(), folder / "screws")
    app = make_service(Catalog(folder, stub, CHECKPOINT), limits or Limits())
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    try:
        yield port, app, stub
    finally:
        stub.gate.set()
        stub.steps.set()
        server.should_exit = True
        thread.join(20)


def sent(port: int, path: str, body: bytes, kind: str) -> socket.socket:
    """A connection on which a request was sent whole."""
    connection = socket.create_connection(("127.0.0.1", port))
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


class Has:
    """What `queued` reads, of an application without a client."""

    def __init__(self, app):
        self.app = app


def test_photographs_of_clients_that_left_are_not_inspected_and_the_others_are(tmp_path):
    with listening(tmp_path) as (port, app, stub):
        stub.gate.clear()
        answers = []

        def ask():
            url = f"http://127.0.0.1:{port}{INSPECT}"
            answers.append(httpx2.post(url, files=[photograph(120)], timeout=30).status_code)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        threads[0].start()
        assert stub.entered.wait(10)
        leaving = [sent(port, INSPECT, encode_png(flat(1)), "image/png") for _ in range(4)]
        for thread in threads[1:]:
            thread.start()
        until(lambda: queued(Has(app)) == 6)
        for connection in leaving:
            connection.close()
        # A server learns of it a little later; how much work it still had is in its counter.
        time.sleep(0.3)
        stub.gate.set()
        for thread in threads:
            thread.join()
        assert answers == [200] * 3 and stub.batches == [1, 2]
        registry = app.state.service.metrics.registry
        assert registry.get_sample_value("iadgpt_abandoned_total") == 4


def test_a_chat_ends_when_its_client_has_left(tmp_path):
    with listening(tmp_path) as (port, app, stub):
        stub.steps.clear()
        body = json.dumps(chat_about(1, stream=True)).encode()
        connection = sent(port, "/v1/chat/completions", body, "application/json")
        until(lambda: app.state.service.device._active)
        connection.close()
        time.sleep(0.3)
        stub.steps.set()
        until(lambda: not app.state.service.device._active)
        assert stub.said == 1, "the piece that was under way"
        assert httpx2.get(f"http://127.0.0.1:{port}/health").status_code == 200


def test_a_body_that_does_not_come_is_408(tmp_path):
    with listening(tmp_path, Limits(seconds=1)) as (port, _, _):
        connection = socket.create_connection(("127.0.0.1", port))
        head = f"POST {INSPECT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 900\r\n\r\nx"
        connection.sendall(head.encode())
        assert b" 408 " in connection.recv(100)


def test_beyond_loopback_it_needs_a_key():
    assert "127.0.0.1" in check_address("127.0.0.1", "") and check_address("0.0.0.0", "key") is None
    with pytest.raises(InputError, match="IADGPT_API_KEY"):
        check_address("0.0.0.0", "")


@pytest.mark.usefixtures("quick_compilation")
def test_a_model_answers_over_http_as_it_does_in_python(tmp_path):
    """A small model in this process; a part of a request of two and one alone."""
    loaded = LoadedModel(lively_params(small_config()), small_config(), tiny_tokenizer(), INFO, 0)
    inspector = Inspector(loaded, dtype="float32")
    rng = np.random.default_rng(0)
    good, *parts = rng.integers(0, 256, (3, 90, 100, 3), dtype=np.uint8)
    save_product(product("p", references=(good,), side=84), tmp_path / "p")
    with TestClient(make_service(Catalog(tmp_path, inspector, CHECKPOINT)), base_url="http://127.0.0.1") as client:
        files = [("photograph", (f"{n}.png", encode_png(part), "image/png")) for n, part in enumerate(parts)]
        told = client.post("/products/p/inspect", files=files).json()["results"]
    expected = inspector.inspect_many(parts, [good], explain=False)
    for one, other in zip(told, expected, strict=True):
        assert one["margin"] == pytest.approx(other.margin, rel=1e-5, abs=1e-6) and one["answer"] == other.answer


@pytest.mark.nightly
@pytest.mark.usefixtures("quick_compilation")
def test_the_command_serves_a_model_and_sigterm_loses_no_answer(tmp_path):
    """A small model in a process of its own: its answers are the Inspector's, a chat streams, and requests that wait or
    are under way when SIGTERM comes are answered."""
    save_model(tmp_path / "work", lively_params(small_config()), small_config(), tiny_tokenizer(), INFO)
    rng = np.random.default_rng(0)
    good, part = rng.integers(0, 256, (2, 90, 100, 3), dtype=np.uint8)
    checkpoint = checkpoint_name(open_checkpoint(tmp_path / "work"))
    save_product(product("p", references=(good,), side=84, checkpoint=checkpoint), tmp_path / "products" / "p")
    port = free_port()
    flags = [f"--checkpoint={tmp_path / 'work'}", f"--products={tmp_path / 'products'}", f"--port={port}"]
    server = subprocess.Popen(
        [sys.executable, "launch/serve.py", *flags, "--timeout=500"], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    )  # fmt: skip
    try:
        assert any("listening at" in line for line in server.stderr)
        here = httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=500)
        file = ("photograph", ("part.png", encode_png(part), "image/png"))
        told = here.post("/products/p/inspect", files=[file]).json()["results"][0]
        expected = Inspector.load(tmp_path / "work").inspect(part, [good], explain=False)
        assert told["margin"] == pytest.approx(expected.margin, rel=1e-4, abs=1e-5)
        with here.stream("POST", "/v1/chat/completions", json=chat_about(9, stream=True, max_tokens=2)) as answer:
            assert answer.status_code == 200 and list(answer.iter_lines())[-2] == "data: [DONE]"

        under_way = [sent(port, "/products/p/inspect", encode_png(part), "image/png") for _ in range(6)]
        assert here.get("/health").status_code == 200, "connections are accepted in turn, so those six were"
        server.send_signal(signal.SIGTERM)
        for connection in under_way:
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            margin = json.loads(answer.read())["results"][0]["margin"]
            assert answer.status == 200 and margin == pytest.approx(expected.margin, rel=1e-4, abs=1e-5)
        assert server.wait(60) == 0
        with pytest.raises(httpx2.ConnectError):
            here.get("/health")
    finally:
        server.kill()
        server.stderr.close()
