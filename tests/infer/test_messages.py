"""A chat is a list of messages, a question's history pairs of texts or messages in turn; anything else is one line."""

from __future__ import annotations

import pytest

from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.messages import parts_of, turns_of


def test_pairs_and_messages_are_the_same_history():
    messages = [{"role": "user", "content": "Normal?"}, {"role": "assistant", "content": [{"text": "No."}]}]
    assert (
        turns_of(messages) == turns_of([("Normal?", "No.")]) == turns_of([["Normal?", "No."]]) == [("Normal?", "No.")]
    )
    assert turns_of([]) == []


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([["Normal?"]], "entry 0 of the history is no pair"),
        ([["Normal?", "No."], ["Where?", None]], "entry 1 of the history"),
        ([["Normal?", "No.", "Yes."]], "entry 0"),
        (["ab"], "entry 0"),
        ([7], "entry 0"),
        ([["Normal?", "No."], {"role": "user", "content": "Where?"}], "entry 1"),
        ("Normal?", "the history is a str"),
        ({"role": "user"}, "the history is a dict"),
        (7, "the history is a int"),
        (None, "the history is a NoneType"),
    ],
)
def test_a_history_that_is_none_is_one_line(history, said):
    with pytest.raises(InputError, match=said) as error:
        turns_of(history)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("messages", [{"role": "user", "content": "Normal?"}, "Normal?", 7])
def test_a_chat_that_is_no_list_is_one_line(messages):
    with pytest.raises(InputError, match="the chat is a .*; expected a list of messages"):
        parts_of(messages, str)
