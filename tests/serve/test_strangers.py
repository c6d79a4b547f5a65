"""The server against what strangers make up: numbers, names, methods, sizes; and what happens beside a request."""

from __future__ import annotations

import asyncio
import json
import shutil

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra [app] is not installed")

from iadgpt_jax.data.images import encode_png
from iadgpt_jax.infer.product_file import save_product
from iadgpt_jax.serve import photographs
from iadgpt_jax.serve.limits import Limits
from iadgpt_jax.serve.ready import MOST_SETTINGS, Catalog
from launch import serve
from tests.serve.stub import CHECKPOINT, Stub, flat, product
from tests.serve.test_service import INSPECT, chat_about, photograph, served


@pytest.fixture
def server(tmp_path):
    save_product(product(), tmp_path / "screws")
    with served(tmp_path) as pair:
        yield pair


@pytest.mark.parametrize("number", ["1" + "0" * 400, "NaN", "-Infinity"])
def test_a_number_that_no_float_holds_is_refused(server, number):
    body = json.dumps(chat_about(1, temperature="?")).replace('"?"', number)
    header = {"content-type": "application/json"}
    answer = server[0].post("/v1/chat/completions", content=body, headers=header)
    assert answer.status_code == 400 and "choose 0 to 2" in answer.json()["error"]["message"]


def test_what_a_client_leaves_to_the_server_may_be_null(server):
    body = chat_about(1, temperature=None, top_p=None, seed=None, max_tokens=None, n=None, stream=None)
    assert server[0].post("/v1/chat/completions", json=body).status_code == 200


def test_addresses_are_compared_as_browsers_and_shells_write_them(tmp_path):
    with served(tmp_path) as (client, _):
        assert client.get("/products", headers={"host": "LocalHost:8000"}).status_code == 200
        told = {"host": "localhost:8000", "origin": "http://LOCALHOST:8000"}
        assert client.get("/products", headers=told).status_code == 200
        for origin in ("null", "http://[", "http://localhost", "http://localhost:8000@evil.example"):
            assert client.get("/products", headers={"host": "localhost:8000", "origin": origin}).status_code == 403
    with served(tmp_path, key="schlüssel") as (client, _):
        assert client.get("/products", headers={"x-api-key": "schlüssel".encode()}).status_code == 200
        assert client.get("/products", headers={"x-api-key": "schlussel"}).status_code == 401


def test_methods_that_are_made_up_are_counted_as_one(server):
    client, _ = server
    for number in range(3):
        assert client.request(f"MADE{number}", "/products").status_code == 405
    told = client.get("/metrics").text
    assert 'method="any",route="/products",status="405"} 3.0' in told and "MADE" not in told


def test_halves_of_characters_in_names_do_not_fail_an_answer(server):
    client, _ = server
    body = b'--b\r\nContent-Disposition: form-data; name="photograph"; filename="a+2AA-.png"\r\n\r\n'
    body += encode_png(flat(1)) + b"\r\n--b--\r\n"
    header = {"content-type": "multipart/form-data; boundary=b; charset=utf-7"}
    assert client.post(INSPECT, content=body, headers=header).json()["results"][0]["file"] == "a?.png"
    folder = client.app.state.service.catalog.folder
    save_product(product("odd", checkpoint="\udc80"), folder / "odd")
    (folder / "\udcff").mkdir()
    (folder / "\udcff" / "product.json").touch()
    told = client.get("/products").json()
    assert len(told["products"]) == 1 and {one["name"] for one in told["faulty"]} == {"odd", "\\udcff"}


@pytest.mark.parametrize("change", [{"side": 28_000_000}, {"side": 4480, "tiles": "8x8"}])
def test_settings_whose_pictures_no_memory_holds_are_refused(server, change):
    client, _ = server
    answer = client.post("/products", data={"name": "x"} | change, files=[photograph(1, key="reference")])
    assert answer.status_code == 400 and "pixels" in answer.json()["error"]["message"]
    folder = client.app.state.service.catalog.folder
    save_product(product("large"), folder / "large")
    described = json.loads((folder / "large" / "product.json").read_text())
    described |= change | {"tiles": [8, 8]}
    (folder / "large" / "product.json").write_text(json.dumps(described))
    assert client.get("/products/large").status_code == 409


def test_photographs_are_counted_before_they_are_decoded(server, monkeypatch):
    """A request of a few kilobytes can hold gigabytes of pixels: two small photographs stand for that."""
    client, _ = server
    for place in ("service.MOST_PIXELS", "chat.MAX_PIXELS"):
        monkeypatch.setattr(f"iadgpt_jax.serve.{place}", 7000)
    decodings, decode = [], photographs.decode_image
    monkeypatch.setattr(photographs, "decode_image", lambda *given: decodings.append(given) or decode(*given))
    two = [photograph(1, key="reference")] * 2
    answer = client.post("/products", data={"name": "x"}, files=two)
    assert answer.status_code == 413 and "7,200 pixels" in answer.json()["error"]["message"]
    assert len(decodings) == 1, "the second was not decoded"
    body = chat_about(1)
    body["messages"][0]["content"].append(body["messages"][0]["content"][1])
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 413 and "7,200 pixels" in answer.json()["error"]["message"]
    good = [photograph(101, key="good")] * 3
    assert client.post("/products", data={"name": "x"}, files=[two[0], *good]).status_code == 201, "one at a time"


@pytest.mark.parametrize("flag", ["--timeout=inf", "--timeout=nan", "--most_megabytes=inf", "--most_megabytes=nan"])
def test_a_limit_is_a_number_and_not_infinite(flag, monkeypatch, capsys):
    monkeypatch.setattr(serve, "kind_of", lambda _: None)
    with pytest.raises(SystemExit):
        serve.main(["--checkpoint=x", flag])
    assert "choose a number" in capsys.readouterr().err


def test_models_under_many_settings_do_not_pile_up(tmp_path):
    catalog = Catalog(tmp_path, Stub(), CHECKPOINT)
    for number in range(1, 100):
        assert catalog.under(number / 100, 56).ratio == number / 100
    assert len(catalog._inspectors) == MOST_SETTINGS


def test_products_that_were_read_do_not_pile_up(tmp_path, monkeypatch):
    for number in range(5):
        save_product(product(f"p{number}"), tmp_path / f"p{number}")
    catalog = Catalog(tmp_path, Stub(), CHECKPOINT)
    monkeypatch.setattr("iadgpt_jax.serve.ready.MOST_BYTES", 2 * 56 * 56 * 3)
    kept = catalog.get("p0")
    for number in range(1, 5):
        assert catalog.get(f"p{number}").product.name == f"p{number}" and catalog.get("p0") is kept, "just used"
    assert list(catalog._ready) == ["p4", "p0"]
    monkeypatch.setattr("iadgpt_jax.serve.ready.MOST_BYTES", 1)
    assert catalog.get("p1").product.name == "p1" and list(catalog._ready) == ["p1"], "one is kept, whatever its size"


def test_a_photograph_whose_turn_came_too_late_is_refused_and_not_lost(tmp_path):
    save_product(product(), tmp_path / "screws")
    with served(tmp_path, limits=Limits(seconds=1.0)) as (client, stub):
        service = client.app.state.service

        async def waited():
            ready = await service.ready("screws")
            (future,) = service.device.inspect(ready, [np.zeros((56, 56, 3), np.uint8)], False)
            return await asyncio.wrap_future(future)

        stub.gate.clear()
        first = client.portal.start_task_soon(waited)
        assert stub.entered.wait(10)
        late = client.portal.start_task_soon(waited)
        with pytest.raises(TimeoutError):
            first.exception(1.2)
        stub.gate.set()
        assert "turn" in str(late.exception(10)) and first.exception(10) is None


def test_a_product_that_cannot_be_removed_says_why(server, monkeypatch):
    client, _ = server

    def refused(*_):
        raise PermissionError(30, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.rename", refused)
        answer = client.delete("/products/screws")
    assert answer.status_code == 400 and "Read-only" in answer.json()["error"]["message"]
    assert client.post(INSPECT, files=[photograph(1)]).status_code == 200


@pytest.mark.parametrize("method, address", [("GET", "export"), ("PUT", "share?share=0.5")])
def test_a_product_that_goes_while_it_is_read_is_not_found(server, monkeypatch, method, address):
    client, _ = server
    catalog = client.app.state.service.catalog
    whole = catalog.whole

    def gone(name):
        shutil.rmtree(catalog.folder / name)
        return whole(name)

    assert client.get("/products/screws").status_code == 200
    monkeypatch.setattr(catalog, "whole", gone)
    assert client.request(method, f"/products/screws/{address}").status_code == 404
    assert not (catalog.folder / "screws").exists()


def test_removing_a_link_to_a_product_leaves_the_product_and_nothing_else(server, tmp_path):
    client, _ = server
    (tmp_path / "link").symlink_to(tmp_path / "screws")
    assert client.delete("/products/link").status_code == 204
    assert [path.name for path in tmp_path.iterdir()] == ["screws"]


def test_a_product_that_another_process_removes_at_the_same_moment_is_gone(server, monkeypatch):
    def gone(*_):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("pathlib.Path.rename", gone)
    assert server[0].delete("/products/screws").status_code == 404
