"""The cap holds, a refusal is no description, waiting is as long as asked for, and the key is seen by nobody."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import time

import pytest
from openai.types.chat import ChatCompletion
from PIL import Image

from iadgpt_jax.corpus import workdir
from iadgpt_jax.corpus.costs import image_tokens, prompt_tokens
from iadgpt_jax.corpus.describe import read_description
from iadgpt_jax.corpus.prompts import FOLDER, read_prompts
from iadgpt_jax.endpoint.asking import FAILED_IN_A_ROW
from iadgpt_jax.endpoint.client import Lost, Reply, Useless, data_url, read_completion
from iadgpt_jax.endpoint.prices import Prices
from iadgpt_jax.errors import InputError
from tests.corpus import pipeline
from tests.corpus.server import PERSPECTIVES, USAGE, Server, running

# A version that was used never changes: its answers lie in caches. New words are a new file and a new line.
DIGESTS = {"v1": "0054fa0b21c85022b4e0082498a3f079efb2ae83e092bc505dae8826fc8f37c9"}


@pytest.fixture
def work(products, tmp_path, monkeypatch):
    """Seven images ready to be described."""
    monkeypatch.setenv("OPENAI_API_KEY", pipeline.KEY)
    pipeline.run(pipeline.collect(tmp_path / "corpus", products), pipeline.clean(tmp_path / "corpus"))
    return tmp_path / "corpus"


def fails(capsys, *command):
    with pytest.raises(SystemExit) as exit_:
        pipeline.run(*command)
    assert exit_.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def report(work):
    return json.loads((work / workdir.DESCRIBE_REPORT).read_text())


def test_versions_of_the_prompts_never_change():
    found = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.glob("*.json")}
    assert found == DIGESTS
    assert tuple(read_prompts().perspectives) == ("shape", "material and structure", "surface quality")
    assert "hex bolt" in read_prompts().question("shape", "hex_bolt")
    with pytest.raises(InputError, match="there are v1"):
        read_prompts("v0")


def test_the_cap_is_never_passed_and_more_money_goes_on(work, capsys):
    one = (USAGE["prompt_tokens"] + 4 * USAGE["completion_tokens"]) / 1e6  # at the prices of `pipeline.describe`
    with running(Server(troubles=("",), refuse_every=0)) as server:
        cap = 10 * one
        line = fails(capsys, pipeline.describe(work, server.url, f"--max_cost={cap}", "--concurrency=8"))
        assert "--max_cost" in line and "what came is kept" in line
        assert 0 < sum(server.answered.values()) * one <= cap and report(work)["spent"] <= cap
        already = sum(server.answered.values())
        assert "not described yet: not asked" in {item["why"] for item in report(work)["left_out"]}
        pipeline.run(pipeline.describe(work, server.url, "--max_cost=1"))
        assert report(work)["spent"] == pytest.approx(21 * one)
        assert sum(server.requests.values()) == 21 and already < 21


def test_a_cap_too_low_for_one_question_asks_nothing(work, capsys):
    with running(Server()) as server:
        fails(capsys, pipeline.describe(work, server.url, "--max_cost=0.0001"))
        assert not server.requests


def test_the_estimate_comes_first_and_can_come_alone(work, capsys):
    with running(Server()) as server:
        pipeline.run(pipeline.describe(work, server.url, "--estimate", "--input_price=1000"))
        assert not server.requests
    expected = 21 * (prompt_tokens(read_prompts()) * 1000 + 0.4 * 300 * 4) / 1e6
    assert f"21 questions, about {expected:.2f}; spent so far 0.00" in capsys.readouterr().out


def test_a_refused_image_is_not_asked_about_further_and_not_published(work, capsys):
    with running(Server(troubles=("",), refuse_every=1)) as server:
        assert "no image could be described" in fails(capsys, pipeline.describe(work, server.url))
        assert len(server.requests) == 7  # the first perspective of each
        fails(capsys, pipeline.describe(work, server.url))
        assert len(server.requests) == sum(server.requests.values()) == 7  # a refusal was paid for, too


def test_retry_after_is_waited_for_by_all(work):
    class Patient(Server):
        times: list = []

        def reply(self, body, key):
            self.times.append(time.monotonic())
            how, status, headers, data = super().reply(body, key)
            return how, status, headers | ({"Retry-After": "0.15"} if status == 429 else {}), data

    with running(Patient(troubles=("429",), refuse_every=0)) as server:
        pipeline.run(pipeline.describe(work, server.url, "--concurrency=1"))
    gaps = [after - before for before, after in zip(server.times, server.times[1:], strict=False)]
    assert all(gap >= 0.15 for gap in gaps[::2])  # question, turned away, then again


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [(401, "invalid_api_key", "check its address"), (404, "model_not_found", "check its address"),
     (429, "insufficient_quota", "see to its account")],
)  # fmt: skip
def test_what_waiting_does_not_mend_ends_at_once_without_the_key(status, code, says, work, tmp_path, capsys):
    message = f"Incorrect: {pipeline.KEY} {code}"
    with running(Server(status=(status, {"error": {"message": message, "code": code}}))) as server:
        line = fails(capsys, pipeline.describe(work, server.url, "--concurrency=4"))
        assert says in line and code in line and sum(server.requests.values()) == 1
        assert server.headers[0]["authorization"] == f"Bearer {pipeline.KEY}"
    assert pipeline.KEY not in line
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and pipeline.KEY.encode() in path.read_bytes()]


def test_no_key_is_one_line(work, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "OPENAI_API_KEY is not set" in fails(capsys, pipeline.describe(work, "http://127.0.0.1:9/v1"))


def test_an_endpoint_that_is_down_ends_the_run_and_costs_nothing(work, capsys, monkeypatch):
    monkeypatch.setattr("iadgpt_jax.endpoint.asking.FAILED_IN_A_ROW", 3)
    assert FAILED_IN_A_ROW > 3
    line = fails(capsys, pipeline.describe(work, "http://127.0.0.1:9/v1", "--attempts=2"))
    assert "3 questions in a row had no answer" in line and report(work)["spent"] == 0


def test_models_that_want_the_newer_name_of_the_length_get_it(work):
    class Newer(Server):
        def reply(self, body, key):
            if "max_tokens" in body:
                error = {"error": {"message": "Unsupported: 'max_tokens'. Use 'max_completion_tokens'."}}
                return "whole", 400, {}, json.dumps(error).encode()
            assert body["max_completion_tokens"] == read_prompts().max_tokens
            return super().reply(body, key)

    with running(Newer(troubles=("",), refuse_every=0)) as server:
        pipeline.run(pipeline.describe(work, server.url))
        assert report(work)["described"] == 7 and len(server.headers) < 21 + 8


def test_an_image_that_the_endpoint_will_not_take_stops_no_other(work):
    class Picky(Server):
        def reply(self, body, key):
            made = super().reply(body, key)
            error = {"error": {"message": "could not read the image", "code": "invalid_image"}}
            return ("whole", 400, {}, json.dumps(error).encode()) if len(self.requests) == 1 else made

    with running(Picky(troubles=("",), refuse_every=0)) as server:
        pipeline.run(pipeline.describe(work, server.url))
        (left_out,) = report(work)["left_out"]
        assert report(work)["described"] == 6 and "could not read the image" in left_out["why"]
        assert sum(server.requests.values()) == 19  # the first image's one question, three of each other
        pipeline.run(pipeline.describe(work, server.url))
        assert report(work)["described"] == 7


def completion(content, finish="stop", **message):
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content} | message}
    values = {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": USAGE}
    return ChatCompletion.model_validate(values)


GOOD = "A round disc with four holes."


@pytest.mark.parametrize(
    ("content", "finish", "message", "kind"),
    [
        (json.dumps({"description": GOOD}), "stop", {}, GOOD),
        (f"```json\n{json.dumps({'description': GOOD})}\n```", "stop", {}, GOOD),
        (json.dumps({"description": f"  A round disc\nwith four {'holes.'}"}), "stop", {}, GOOD),
        ('{"description": "A round di', "length", {}, Useless),
        ("A round disc with four holes.", "stop", {}, Useless),
        (json.dumps({"description": "Round."}), "stop", {}, Useless),
        (json.dumps({"description": ["A", "list"]}), "stop", {}, Useless),
        (json.dumps([GOOD]), "stop", {}, Useless),
        (None, "stop", {}, Useless),
        (None, "stop", {"refusal": "I can't."}, "refused"),
        ("", "content_filter", {}, "refused"),
        ("I'm sorry, but I can't help with that.", "stop", {}, "refused"),
        ("Sorry, I cannot describe this.", "stop", {}, "refused"),
        ("As an AI, I am not able to.", "stop", {}, "refused"),
        (json.dumps({"description": "I’m unable to make out a product."}), "stop", {}, "refused"),
        (json.dumps({"refusal": "It shows a person."}), "stop", {}, "refused"),
    ],
)
def test_an_answer_is_a_description_a_refusal_or_useless(content, finish, message, kind):
    outcome = read_completion(completion(content, finish, **message), read_description)
    assert (outcome.prompt_tokens, outcome.answer_tokens) == (1000, 50)
    if kind is Useless:
        assert isinstance(outcome, Useless)
    elif kind == "refused":
        assert isinstance(outcome, Reply) and outcome.answer.refused and not outcome.answer.text
    else:
        assert outcome.answer.text == kind and not outcome.answer.refused


def test_what_is_no_completion_is_lost():
    assert isinstance(read_completion(ChatCompletion.model_construct(choices=[], usage=None), read_description), Lost)
    assert isinstance(read_completion("<html>", read_description), Lost)


def test_an_image_is_sent_reduced_and_never_enlarged(tmp_path):
    for side, sent in ((1000, 768), (64, 64)):
        url = data_url(pipeline.picture(tmp_path / "a.png", 0, side), 768)
        data = base64.b64decode(url.removeprefix("data:image/jpeg;base64,"))
        assert Image.open(io.BytesIO(data)).size == (sent, sent)


def test_costs_by_hand():
    assert image_tokens(768) == 28 * 28 and image_tokens(448) == 256  # 16 x 16 patches, or one tile: 255
    assert Prices(2.5, 10).of(1000, 100) == pytest.approx(0.0035)
    assert len(PERSPECTIVES) == 3
