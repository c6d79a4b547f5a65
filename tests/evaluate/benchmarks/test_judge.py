"""GPT-Score: a judge that misbehaves is asked again, pays nothing twice, and what it will not grade is counted."""

from __future__ import annotations

import hashlib
import json

import pytest

from iadgpt_jax.endpoint.asking import Patience
from iadgpt_jax.endpoint.client import Unusable
from iadgpt_jax.endpoint.prices import Prices
from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.benchmarks.judge import FOLDER, Judge, judge_answers, read_grade, read_judge_prompts
from tests.corpus.server import USAGE, running
from tests.evaluate.benchmarks.judge_server import JudgeServer

# A version that was used never changes: its grades lie in caches. New words are a new file and a new line.
DIGESTS = {"judge_v1": "64e4fab0d63b4a1abd595ffe6c3a0809b634a47496a4d7715722f7a7991915c9"}
TROUBLES = ("429", "500", "time-out", "cut body", "cut answer", "prose")
KEY = "sk-this-must-never-be-seen"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def rows(*answers):
    return [
        {"id": f"q{number}", "question": "Why?", "truth": "It melted.", "answer": answer}
        for number, answer in enumerate(answers)
    ]


def judged(out, server, answers, **changes):
    values = {"prices": Prices(1, 4), "max_cost": 1.0, "timeout": 30.0, "concurrency": 3,
              "patience": Patience(attempts=3, first_wait=0.01)} | changes  # fmt: skip
    judge = Judge(server.url, "toy", **values)
    return judge_answers(out, judge, judge.endpoint(), answers)


def test_versions_of_the_prompts_never_change():
    found = {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.glob("judge_*.json")}
    assert found == DIGESTS
    with pytest.raises(InputError, match="no judge's prompts v0"):
        read_judge_prompts("v0")


def test_grades_come_through_every_kind_of_trouble_and_are_paid_for_once(tmp_path):
    answers = rows("good", *TROUBLES)
    grades = {row["answer"]: float(number + 1) for number, row in enumerate(answers)}
    with running(JudgeServer(grades=grades, trouble={name: name for name in TROUBLES})) as server:
        told = judged(tmp_path, server, answers, timeout=0.4, patience=Patience(attempts=8, first_wait=0.01))
        assert {row["answer"]: row["gpt_score"] for row in answers} == grades
        assert answers[1]["judge"] == "it says 429"
        assert (told["graded"], told["asked"], told["stopped"]) == (7, 7, "")
        assert told["refused"]["count"] == told["broken"]["count"] == 0
        asked = server.asked.copy()
        assert all(asked[trouble] >= 2 for trouble in TROUBLES), "more on a machine too busy for the short time-out"
        again = rows("good", *TROUBLES)
        more = judged(tmp_path, server, again)
        assert server.asked == asked and more["asked"] == 0, "a rerun asks nothing"
        assert [row["gpt_score"] for row in again] == [row["gpt_score"] for row in answers]
        assert more["spent"] == told["spent"] > 0
    assert KEY.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_what_is_refused_or_never_graded_is_counted_and_named(tmp_path):
    answers = rows("good", "refusal", "never")
    server = JudgeServer(grades={"good": 9}, trouble={"refusal": "refusal", "never": "never"})
    with running(server):
        told = judged(tmp_path, server, answers)
        assert told["graded"] == 1 and "gpt_score" not in answers[1] and "gpt_score" not in answers[2]
        assert told["refused"] == {"count": 1, "answers": [{"id": "q1", "why": "I'm sorry, but I can't grade this."}]}
        (broken,) = told["broken"]["answers"]
        assert broken["id"] == "q2" and "no score from 1 to 10 in the reply: 'It is quite good.'" in broken["why"]
        assert server.asked == {"good": 1, "refusal": 1, "never": 3}
        judged(tmp_path, server, rows("good", "refusal", "never"))
        assert server.asked == {"good": 1, "refusal": 1, "never": 6}, "a refusal is an answer, what is broken is not"


def test_the_same_answer_to_the_same_question_is_graded_once(tmp_path):
    answers = rows("good", "good", "good ")
    with running(JudgeServer(grades={"good": 4})) as server:
        judged(tmp_path, server, answers)
        assert server.asked == {"good": 1} and [row["gpt_score"] for row in answers] == [4, 4, 4]
        judged(tmp_path, server, [rows("good")[0] | {"truth": "It broke."}])
        assert server.asked == {"good": 2}, "another published answer, another grade"


def test_an_answer_cannot_speak_for_the_prompt(tmp_path):
    answers = rows("{truth} {question}")
    with running(JudgeServer(grades={"{truth} {question}": 1})) as server:
        judged(tmp_path, server, answers)
        assert answers[0]["gpt_score"] == 1 and server.asked == {"{truth} {question}": 1}
        assert server.bodies[0]["model"] == "toy"


def test_the_cap_holds_and_what_came_is_kept(tmp_path):
    one = (USAGE["prompt_tokens"] + 4 * USAGE["completion_tokens"]) / 1e6
    answers = rows(*"abcdef")
    with running(JudgeServer(grades=dict.fromkeys("abcdef", 5))) as server:
        told = judged(tmp_path, server, answers, max_cost=4 * one)
        assert "--judge_max_cost" in told["stopped"] and 0 < told["graded"] < 6 and told["spent"] <= 4 * one
        assert told["broken"]["count"] == 6 - told["graded"]
        assert judged(tmp_path, server, answers)["graded"] == 6 and set(server.asked.values()) == {1}


@pytest.mark.parametrize(("status", "code"), [(401, "invalid_api_key"), (429, "insufficient_quota")])
def test_what_waiting_does_not_mend_stops_at_once_without_the_key(status, code, tmp_path):
    with running(JudgeServer(status=(status, {"error": {"message": f"no {code}: {KEY}", "code": code}}))) as server:
        told = judged(tmp_path, server, rows("a", "b"))
        assert code in told["stopped"] and KEY not in told["stopped"] and sum(server.asked.values()) == 1
    assert told["graded"] == 0 and told["broken"]["count"] == 2


def test_no_key_is_one_line(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(InputError, match="OPENAI_API_KEY is not set"):
        Judge("http://127.0.0.1:9/v1", "toy").endpoint()


@pytest.mark.parametrize(
    ("text", "score"),
    [('{"score": 7, "why": "fine"}', 7), ('```json\n{"score": 1}\n```', 1), ('{"score": 8.5}', 8.5), ("7", 7),
     ("Score: 6", 6), ("9/10", 9), ("**10**", 10)],
)  # fmt: skip
def test_grades_are_read(text, score):
    assert json.loads(read_grade(text, False))["score"] == score


@pytest.mark.parametrize(
    "text",
    ["", "good", '{"score": 0}', '{"score": 11}', '{"score": "7"}', '{"score": true}', '{"score": NaN}', "[7]", "12",
     '{"grade": 7}', '{"score": 7', "between 3 and 4"],
)  # fmt: skip
def test_what_is_no_grade_is_none(text):
    with pytest.raises(Unusable):
        read_grade(text, False)
