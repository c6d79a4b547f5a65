"""The HTTP interface on a stub model: products, inspections, chats, and a clear status for what is not answered."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import threading
import time

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra [app] is not installed")

from PIL import Image
from starlette.testclient import TestClient

from iadgpt_jax.data.images import encode_png
from iadgpt_jax.infer.inspector import Asked
from iadgpt_jax.infer.product_file import product_bytes, save_product
from iadgpt_jax.serve.limits import Limits
from iadgpt_jax.serve.ready import Catalog
from iadgpt_jax.serve.service import make_service
from tests.serve.stub import CHECKPOINT, Stub, flat, product

HERE = "http://127.0.0.1"
INSPECT = "/products/screws/inspect"


@contextlib.contextmanager
def served(folder, stub=None, limits=None, **options):
    """(client, stub, folder of products) of a server that is running."""
    stub = stub or Stub()
    app = make_service(Catalog(folder, stub, CHECKPOINT), limits or Limits(), **options)
    with TestClient(app, base_url=HERE, raise_server_exceptions=False) as client:
        yield client, stub
        stub.gate.set()
        stub.steps.set()


@pytest.fixture
def server(tmp_path):
    save_product(product(), tmp_path / "screws")
    with served(tmp_path) as pair:
        yield pair


def photograph(level: int, name: str = "part.png", key: str = "photograph") -> tuple:
    return key, (name, encode_png(flat(level)), "image/png")


# ---- Inspections ----


def test_photographs_of_a_product_are_judged_by_its_threshold(server):
    client, stub = server
    told = client.post(INSPECT, files=[photograph(105), photograph(120, "b.png")]).json()
    assert [(one["file"], one["defective"]) for one in told["results"]] == [("part.png", False), ("b.png", True)]
    assert told["results"][1]["margin"] == pytest.approx(2.0) and told["threshold"]["margin"] == 1.0
    assert told["results"][0]["explanation"] == "" and "overlay" not in told["results"][0]
    one = client.post("/products/screws/inspect?explain=true&pictures=true", files=[photograph(120)]).json()
    assert one["results"][0]["explanation"] == "why"
    for picture, mode in (("overlay", "RGB"), ("map", "I;16")):
        data = base64.b64decode(one["results"][0][picture].partition(",")[2])
        with Image.open(io.BytesIO(data)) as image:
            assert image.size == (60, 60) and image.mode == mode


def test_one_photograph_may_be_the_body_and_the_answer_a_picture(server):
    client, _ = server
    body = dict(content=encode_png(flat(120)), headers={"content-type": "image/png", "accept": "image/png"})
    answer = client.post(INSPECT, **body)
    assert answer.headers["content-type"] == "image/png" and answer.headers["x-iadgpt-defective"] == "true"
    assert Image.open(io.BytesIO(answer.content)).size == (60, 60)
    assert client.post("/products/screws/inspect?picture=map", **body).headers["x-iadgpt-margin"] == "2.000000"


def test_a_large_photograph_keeps_its_size_in_the_answer_but_not_in_the_picture(tmp_path):
    save_product(product(), tmp_path / "screws")
    wide = np.full((300, 900, 3), 120, np.uint8)
    with served(tmp_path, limits=Limits(shown_side=90)) as (client, _):
        files = [("photograph", ("wide.png", encode_png(wide), "image/png"))]
        told = client.post("/products/screws/inspect?pictures=true", files=files).json()["results"][0]
        assert (told["height"], told["width"]) == (300, 900)
        data = base64.b64decode(told["overlay"].partition(",")[2])
        assert Image.open(io.BytesIO(data)).size == (90, 30)


def test_requests_that_wait_together_are_one_batch(server):
    """While the first is inspected, seven more of two products arrive: they become one batch for each product."""
    client, stub = server
    save_product(product("nuts"), client.app.state.service.catalog.folder / "nuts")
    stub.gate.clear()
    answers = {}

    def ask(number):
        name = "nuts" if number % 3 == 2 else "screws"
        answers[number] = client.post(f"/products/{name}/inspect", files=[photograph(100 + number)])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    threads[0].start()
    assert stub.entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    until(lambda: queued(client) == 7)
    stub.gate.set()
    for thread in threads:
        thread.join()
    assert stub.batches[0] == 1 and sorted(stub.batches[1:]) == [2, 5]
    margins = {number: answer.json()["results"][0]["margin"] for number, answer in answers.items()}
    assert margins == {number: pytest.approx(number / 10) for number in range(8)}


def test_one_photograph_that_fails_costs_the_others_of_its_batch_nothing(server):
    client, stub = server
    stub.fails_at = 150
    answer = client.post(INSPECT, files=[photograph(150)])
    assert answer.status_code == 500 and "fault of the server" in answer.json()["error"]["message"]
    stub.entered.clear()
    stub.gate.clear()
    answers = []

    def ask(level):
        answers.append((level, client.post(INSPECT, files=[photograph(level)]).status_code))

    threads = [threading.Thread(target=ask, args=(level,)) for level in (100, 150, 120, 130)]
    for thread in threads:
        thread.start()
    stub.gate.set()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [(100, 200), (120, 200), (130, 200), (150, 500)]


# ---- Products ----


def test_a_product_is_made_listed_exported_imported_and_removed(server, tmp_path_factory):
    client, stub = server
    files = [photograph(100 + n, key="reference") for n in (0, 2)]
    files += [photograph(100 + n, key="good") for n in (4, 6, 8)]
    answer = client.post("/products", data={"name": "M4 nuts", "share": "0.5"}, files=files)
    assert answer.status_code == 201 and answer.json()["references"] == 2
    assert answer.json()["threshold"]["good"] == pytest.approx([-0.2, 0.2, 0.3, 0.5, 0.7])
    assert answer.json()["threshold"]["margin"] == pytest.approx(0.3)
    assert client.post("/products", data={"name": "M4 nuts"}, files=files).status_code == 409
    assert client.put("/products/M4 nuts/share?share=0.8").json()["threshold"]["margin"] == pytest.approx(0.7)
    exported = client.get("/products/M4 nuts/export")
    assert exported.headers["content-type"] == "application/zip"
    with served(tmp_path_factory.mktemp("other")) as (other, _):
        sent = dict(content=exported.content, headers={"content-type": "application/zip"})
        assert other.post("/products/import", **sent).status_code == 201
        assert other.post("/products/import", **sent).status_code == 409
        assert other.post("/products/import?replace=true", **sent).json()["name"] == "M4 nuts"
        assert other.get("/products/M4 nuts/export").content == exported.content
    assert client.delete("/products/M4 nuts").status_code == 204
    assert client.get("/products/M4 nuts").status_code == client.delete("/products/M4 nuts").status_code == 404
    assert [one["name"] for one in client.get("/products").json()["products"]] == ["screws"]


def test_a_share_is_chosen_only_where_good_parts_were_measured(server):
    client, _ = server
    assert client.post("/products", data={"name": "nuts"}, files=[photograph(1, key="reference")]).status_code == 201
    answer = client.put("/products/nuts/share?share=0.9")
    assert answer.status_code == 400 and "no good part was measured" in answer.json()["error"]["message"]


def test_products_of_another_model_and_damaged_ones_are_listed_as_such_and_not_used(server):
    client, _ = server
    folder = client.app.state.service.catalog.folder
    save_product(product("bolts", checkpoint="f" * 16), folder / "bolts")
    save_product(product("rings"), folder / "rings")
    (folder / "rings" / "product.json").write_text("{}")
    told = client.get("/products").json()
    assert [one["name"] for one in told["products"]] == ["screws"]
    assert {one["name"] for one in told["faulty"]} == {"bolts", "rings"}
    answer = client.post("/products/bolts/inspect", files=[photograph(1)])
    assert answer.status_code == 409 and "was made with checkpoint" in answer.json()["error"]["message"]
    foreign = product_bytes(product("x", checkpoint="f" * 16))
    answer = client.post("/products/import", content=foreign, headers={"content-type": "application/zip"})
    assert answer.status_code == 400 and "two models" in answer.json()["error"]["message"]


def test_a_product_that_changes_on_disk_is_read_anew(server):
    client, _ = server

    def inspect():
        return client.post(INSPECT, files=[photograph(130)]).json()["results"][0]["margin"]

    assert inspect() == pytest.approx(3.0)
    save_product(product(level=120), client.app.state.service.catalog.folder / "screws")
    assert inspect() == pytest.approx(1.0)


def test_a_product_in_tiles_is_inspected_tile_by_tile(server):
    client, stub = server
    picture = flat(100, side=120)
    picture[60:, 60:] = 200
    large = [("reference", ("r.png", encode_png(flat(100, side=120)), "image/png"))]
    made = client.post("/products", data={"name": "t", "tiles": "2x2"}, files=large).json()
    assert made["tiles"] == "2x2"
    stub.batches.clear()
    file = ("photograph", ("part.png", encode_png(picture), "image/png"))
    told = client.post("/products/t/inspect?pictures=true", files=[file]).json()["results"][0]
    assert stub.batches == [1] * 4 and told["margin"] > 5, "the worst tile, most of which is brighter by 100"
    assert client.post("/products", data={"name": "u", "tiles": "9x9"}, files=large).status_code == 400


# ---- Refusals ----


@pytest.mark.parametrize("change", [{"side": 8400}, {"side": 2240, "tiles": "4x3"}])
def test_a_product_whose_references_make_too_many_tokens_is_refused(server, change):
    client, stub = server
    answer = client.post("/products", data={"name": "x"} | change, files=[photograph(1, key="reference")])
    assert answer.status_code == 400 and "image tokens, at most 65,536" in answer.json()["error"]["message"]
    tiles = tuple(map(int, change.get("tiles", "1x1").split("x")))
    sent = product_bytes(product("x", side=change["side"], tiles=tiles))
    answer = client.post("/products/import", content=sent, headers={"content-type": "application/zip"})
    assert answer.status_code == 400 and "image tokens, at most 65,536" in answer.json()["error"]["message"]
    assert stub.batches == []


@pytest.mark.parametrize(
    "request_, status, told",
    [
        (dict(url="/products/none/inspect", files=[photograph(1)]), 404, "no product"),
        (dict(url="/products/..%2Fx/inspect", files=[photograph(1)]), 404, ""),
        (dict(url=INSPECT, files=[photograph(1)] * 33), 400, "Too many files"),
        (dict(url=INSPECT, data={"photograph": "text"}, files=[photograph(1, key="x")]), 400, "send"),
        (dict(url=INSPECT, json={}), 415, "multipart/form-data"),
        (dict(url=INSPECT, files=[("photograph", ("a.png", b"text", "image/png"))]), 415, "no image"),
        (dict(url=INSPECT, content=b"GIF89a", headers={"content-type": "image/gif"}), 415, "no image"),
        (dict(url=INSPECT, files=[("photograph", ("a", encode_png(flat(1))[:80], ""))]), 400, "a"),
        (dict(url=INSPECT, files=[("photograph", ("a", encode_png(flat(1, 9)), ""))]), 400, "token"),
        (dict(url=INSPECT + "?picture=gif", files=[photograph(1)]), 400, "choose overlay or map"),
        (dict(url=INSPECT + "?picture=map", files=[photograph(1)] * 2), 400, "one photograph"),
        (dict(url=INSPECT + "?explain=maybe", files=[photograph(1)]), 400, "explain"),
        (dict(url="/products", data={"name": "../x"}, files=[photograph(1, key="reference")]), 400, "cannot be"),
        (dict(url="/products", data={"name": "x", "share": "2"}, files=[photograph(1, key="reference")]), 400, "share"),
        (dict(url="/products", data={"name": "x", "side": "50"}, files=[photograph(1, key="reference")]), 400, "side"),
        (dict(url="/products", data={"name": "x"}, files=[photograph(1, key="good")]), 400, "0 references"),
        (dict(url="/products/import", content=b"PK", headers={"content-type": "application/zip"}), 400, "no product"),
        (dict(url="/products/import", content=b"PK", headers={"content-type": "text/plain"}), 415, "application/zip"),
        (dict(url="/v1/chat/completions", content=b"{}", headers={"content-type": "text/plain"}), 415, "json"),
        (dict(url="/v1/chat/completions", content=b"{", headers={"content-type": "application/json"}), 400, "JSON"),
        (dict(url="/nowhere"), 404, "Not Found"),
        (dict(url="/health"), 405, "Method Not Allowed"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_has_a_status_and_one_line(server, request_, status, told):
    client, _ = server
    answer = client.post(**request_)
    assert answer.status_code == status
    assert told in answer.json()["error"]["message"] and "\n" not in answer.json()["error"]["message"]


def test_what_is_too_large_is_413_before_it_is_read_whole(tmp_path):
    save_product(product(), tmp_path / "screws")
    with served(tmp_path, limits=Limits(body_bytes=10_000)) as (client, _):
        sent = 0

        def endless():
            nonlocal sent
            for _ in range(100):
                sent += 1
                yield b"x" * 1000

        header = {"content-type": "image/png"}
        assert client.post(INSPECT, content=endless(), headers=header).status_code == 413
        assert client.post(INSPECT, content=b"x" * 10_001, headers=header).status_code == 413
    huge = Image.new("1", (10_000, 8_001))
    buffer = io.BytesIO()
    huge.save(buffer, "PNG")
    with served(tmp_path) as (client, _):
        answer = client.post(INSPECT, content=buffer.getvalue(), headers=header)
        assert answer.status_code == 413 and "80,010,000 pixels" in answer.json()["error"]["message"]


def test_a_full_queue_is_429_a_late_answer_503_and_nothing_is_inspected_for_nobody(tmp_path):
    save_product(product(), tmp_path / "screws")
    with served(tmp_path, limits=Limits(queue=2, seconds=1.0)) as (client, stub):
        stub.gate.clear()
        statuses = []

        def ask():
            statuses.append(client.post(INSPECT, files=[photograph(1)]).status_code)

        first = threading.Thread(target=ask)
        first.start()
        assert stub.entered.wait(10)
        others = [threading.Thread(target=ask) for _ in range(2)]
        for thread in others:
            thread.start()
        until(lambda: queued(client) == 2)
        full = client.post(INSPECT, files=[photograph(1)])
        assert full.status_code == 429 and full.headers["retry-after"] == "1"
        for thread in (first, *others):
            thread.join()
        assert statuses == [503, 503, 503]
        stub.gate.set()
        until(lambda: queued(client) == 0)
        assert client.post(INSPECT, files=[photograph(1)]).status_code == 200
        assert stub.batches == [1, 1], "the two that had waited too long were not inspected"


def test_a_server_that_stops_finishes_what_it_has_and_takes_on_nothing(tmp_path):
    save_product(product(), tmp_path / "screws")
    with served(tmp_path) as (client, stub):
        stub.gate.clear()
        answers = []

        def ask():
            answers.append(client.post(INSPECT, files=[photograph(120)]))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        threads[0].start()
        assert stub.entered.wait(10)
        for thread in threads[1:]:
            thread.start()
        until(lambda: queued(client) == 2)
        service = client.app.state.service
        service.draining = True  # as uvicorn's SIGTERM does; it ends the application when the last request is answered
        closing = threading.Thread(target=service.device.close)
        closing.start()
        until(lambda: service.device._closing)
        assert client.post(INSPECT, files=[photograph(1)]).status_code == 503
        assert client.post("/v1/chat/completions", json=chat_about(1)).status_code == 503
        assert client.get("/health").status_code == 503
        stub.gate.set()
        for thread in (*threads, closing):
            thread.join(10)
        assert [answer.json()["results"][0]["defective"] for answer in answers] == [True] * 3


def test_only_who_has_the_key_and_no_page_of_another_site_is_answered(tmp_path):
    with served(tmp_path, key="s3cret") as (client, _):
        assert client.get("/health").status_code == 200
        assert client.get("/products").status_code == client.get("/metrics").status_code == 401
        assert client.get("/products", headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.get("/products", headers={"authorization": "Bearer s3cret"}).status_code == 200
        assert client.get("/products", headers={"x-api-key": "s3cret"}).status_code == 200
    with served(tmp_path) as (client, _):
        assert client.get("/products", headers={"origin": "http://evil.example"}).status_code == 403
        assert client.get("/products", headers={"origin": HERE}).status_code == 200
        assert client.get("/products", headers={"host": "evil.example"}).status_code == 403, "a name made to point here"
    with served(tmp_path, hosts=None, key="k") as (client, _):
        assert client.get("/products", headers={"host": "inspection.local", "x-api-key": "k"}).status_code == 200


def test_metrics_count_requests_batches_and_verdicts(server):
    client, _ = server
    client.post(INSPECT, files=[photograph(100), photograph(150)])
    client.get("/made/up/address")
    text = client.get("/metrics").text
    route = 'method="POST",route="/products/{name}/inspect",status="200"'
    assert f"iadgpt_requests_total{{{route}}} 1.0" in text
    assert 'iadgpt_verdicts_total{verdict="bad"} 1.0' in text and "iadgpt_batch_photographs_count 1.0" in text
    assert "iadgpt_products 1.0" in text and "iadgpt_queue 0.0" in text and "made/up" not in text


# ---- Chats ----


def data_url(level: int) -> str:
    return "data:image/png;base64," + base64.b64encode(encode_png(flat(level))).decode()


def chat_about(level: int, **more) -> dict:
    content = [{"type": "text", "text": "What is wrong?"}, {"type": "image_url", "image_url": {"url": data_url(level)}}]
    return {"model": "iadgpt", "messages": [{"role": "user", "content": content}], **more}


def test_a_chat_is_answered_whole_or_in_chunks(server):
    client, stub = server
    whole = client.post("/v1/chat/completions", json=chat_about(7)).json()
    assert whole["object"] == "chat.completion" and whole["choices"][0]["finish_reason"] == "stop"
    assert whole["choices"][0]["message"] == {"role": "assistant", "content": "a scratch é!"}
    text, image = stub.asked[-1][0]["content"]
    assert text == {"type": "text", "text": "What is wrong?"} and np.array_equal(image["image"], flat(7))
    answer = client.post("/v1/chat/completions", json=chat_about(7, stream=True, max_tokens=3))
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event)["choices"][0] for event in events[:-1]]
    assert "".join(chunk["delta"].get("content", "") for chunk in chunks) == "a scratch é"
    assert [chunk["finish_reason"] for chunk in chunks] == [None] * 3 + ["length"]


def test_a_chat_about_a_product_is_asked_as_the_model_was_trained(server):
    client, stub = server
    body = chat_about(7, product="screws")
    body["messages"] += [{"role": "assistant", "content": "A dent."}, {"role": "user", "content": "Where?"}]
    assert client.post("/v1/chat/completions", json=body).status_code == 200
    asked = stub.asked[-1]
    assert isinstance(asked, Asked) and asked.question == "Where?" and asked.history == [("What is wrong?", "A dent.")]
    assert np.array_equal(asked.query, flat(7)) and asked.references[0].shape == (56, 56, 3)
    body["messages"].pop()
    assert client.post("/v1/chat/completions", json=body).status_code == 400
    assert client.post("/v1/chat/completions", json=chat_about(7, product="none")).status_code == 404


@pytest.mark.parametrize(
    "change, told",
    [
        ({"n": 2}, "one answer"), ({"tools": [{}]}, "tools is not supported"), ({"temperature": 9}, "temperature"),
        ({"temperature": "hot"}, "no number"), ({"top_p": 0}, "top_p"), ({"max_tokens": -1}, "max_tokens"),
        ({"messages": []}, "1 to 200"), ({"messages": [{"role": "tool", "content": ""}]}, "roles"),
        ({"messages": [{"role": "user"}]}, "no content"), ({"product": 3}, "name"),
    ],
)  # fmt: skip
def test_a_chat_that_cannot_be_answered_says_why(server, change, told):
    answer = server[0].post("/v1/chat/completions", json=chat_about(1) | change)
    assert answer.status_code == 400 and told in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "url", ["/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/x.png", "data:text/plain,x", 3]
)
def test_an_image_is_never_read_from_elsewhere(server, url):
    part = {"type": "image_url", "image_url": {"url": url}}
    body = {"messages": [{"role": "user", "content": [part]}]}
    answer = server[0].post("/v1/chat/completions", json=body)
    assert answer.status_code == 400 and "data URLs" in answer.json()["error"]["message"]
    for sneaky in ({"type": "image", "image": "/etc/passwd"}, {"type": "text", "text": "x", "path": "/etc/passwd"}):
        answer = server[0].post("/v1/chat/completions", json={"messages": [{"role": "user", "content": [sneaky]}]})
        assert answer.status_code == (200 if sneaky["type"] == "text" else 400)
        if sneaky["type"] == "text":
            assert server[1].asked[-1][0]["content"] == [{"type": "text", "text": "x"}]


def test_inspections_go_on_while_a_chat_is_answered(server):
    client, stub = server
    client.post(INSPECT, files=[photograph(100)])
    chats = [threading.Thread(target=client.post, args=("/v1/chat/completions",), kwargs={"json": chat_about(1)})]
    stub.steps.clear()
    chats[0].start()
    stub.steps.set()
    assert client.post(INSPECT, files=[photograph(100)]).status_code == 200
    chats[0].join()


# ---- Waiting ----


def queued(client) -> int:
    return int(client.app.state.service.metrics.registry.get_sample_value("iadgpt_queue"))


def until(happened, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
