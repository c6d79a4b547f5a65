"""What is appended survives a torn last line; what was asked, answered and spent is read back as it was."""

from __future__ import annotations

import pytest

from iadgpt_jax.endpoint.ledger import Answer, CapReached, Ledger, question_id
from iadgpt_jax.errors import InputError
from iadgpt_jax.journal import Journal


def test_every_entry_comes_back_in_order_and_by_its_place(tmp_path):
    entries = [{"n": n, "text": "ä\u2028\n" * n} for n in range(5)]
    with Journal(tmp_path / "j") as journal:
        places = [journal.append(entry) for entry in entries]
        assert [journal.at(place) for place in places] == entries
    with Journal(tmp_path / "j") as journal:
        assert list(journal.entries()) == list(zip(places, entries, strict=True))


@pytest.mark.parametrize("keep", range(12))
def test_a_torn_last_line_is_dropped_and_the_next_one_is_whole(keep, tmp_path):
    with Journal(tmp_path / "j") as journal:
        journal.append({"n": 0})
        end = journal.append({"n": 11})
    data = (tmp_path / "j").read_bytes()
    torn = data[: end + min(keep, len(data) - end - 1)]
    (tmp_path / "j").write_bytes(torn)
    with Journal(tmp_path / "j") as journal:
        journal.append({"n": 2})
        assert [entry for _, entry in journal.entries()] == [{"n": 0}, {"n": 2}]


def test_a_line_damaged_in_the_middle_is_named(tmp_path):
    (tmp_path / "j").write_text('{"n": 0}\n{"n": \n{"n": 2}\n')
    with Journal(tmp_path / "j") as journal, pytest.raises(InputError, match="line 2 is damaged"):
        list(journal.entries())


def reopened(path, cap=100.0):
    return Ledger(Journal(path), cap)


def test_what_was_spent_and_answered_is_read_back(tmp_path):
    ledger = reopened(tmp_path / "j")
    for id in "abcd":
        ledger.ask(id, 1.0)
    ledger.unbilled("a")
    ledger.useless("b", 0.25)
    ledger.keep("c", Answer("A disc."), 0.5, 1000)
    for one in (ledger, reopened(tmp_path / "j")):
        assert one.spent == pytest.approx(0.25 + 0.5 + 1.0)  # nobody knows what became of d
        assert one.answer("c") == Answer("A disc.") and one.answer("a") is None
        assert (one.tries("b"), one.tries("c"), one.prompt_tokens) == (1, 0, 1000)


def test_a_refusal_is_an_answer(tmp_path):
    ledger = reopened(tmp_path / "j")
    ledger.ask("a", 1.0)
    ledger.keep("a", Answer(refused="no"), 0.5, 1000)
    assert reopened(tmp_path / "j").answer("a") == Answer(refused="no")


def test_the_cap_counts_what_is_under_way_in_this_process_and_was_in_killed_ones(tmp_path):
    ledger = reopened(tmp_path / "j", cap=2.0)
    ledger.ask("a", 1.0)
    ledger.ask("b", 1.0)
    with pytest.raises(CapReached):
        ledger.ask("c", 1e-3)
    with pytest.raises(CapReached):
        reopened(tmp_path / "j", cap=2.0).ask("c", 1e-3)
    ledger.unbilled("a")
    ledger.ask("c", 1.0)


def test_an_answer_belongs_to_pixels_prompts_perspective_and_model():
    one = ("sha", "v1", "shape", "model")
    others = [(*one[:place], "other", *one[place + 1 :]) for place in range(4)]
    assert len({question_id(*parts) for parts in (one, *others)}) == 5
