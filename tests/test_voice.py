"""What is said beside results: silent when asked to be, but for warnings, and in colour on a terminal only."""

import io

import pytest

from iadgpt_jax import voice
from iadgpt_jax.errors import InputError, Parser, clear_errors, did_you_mean
from iadgpt_jax.progress import Meter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Notebook(io.StringIO):
    """As Jupyter's stream: no terminal, yet a carriage return goes back."""


Notebook.__module__ = "ipykernel.iostream"


def test_quiet_leaves_warnings_and_ends_with_the_command(capsys):
    @clear_errors()
    def main(*arguments: str) -> None:
        Parser().parse_args(arguments)
        voice.say("working")
        Meter("counting", "things")(1, 1)
        voice.warn("something is odd")
        voice.say("warning: and something else")

    main("--quiet")
    assert capsys.readouterr().err == "warning: something is odd\nwarning: and something else\n"
    main()
    assert capsys.readouterr().err.startswith("working\ncounting 1/1 things")


@pytest.mark.parametrize("stream, start", [(Terminal(), "\r\033[K"), (Notebook(), "\r"), (io.StringIO(), "")])
def test_progress_is_rewritten_where_it_can_be(stream, start):
    meter = Meter("counting", "things", stream, seconds=0)
    meter.interval = 0
    meter(1, 2)
    meter(2, 2)
    first, second = stream.getvalue().split("counting ")[1:]
    assert stream.getvalue().startswith(f"{start}counting") and second.endswith("\n")
    assert ("\n" in first) == (start == "")


def test_colours_are_for_terminals_and_can_be_switched_off(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert voice.coloured("error:", voice.RED, io.StringIO()) == "error:"
    assert voice.coloured("error:", voice.RED, Terminal()) == "\033[31merror:\033[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert voice.coloured("error:", voice.RED, Terminal()) == "error:"


@pytest.mark.parametrize(
    "name, meant",
    [("--querry", "--query"), ("--optimizer.rat", "--optimizer.rate"), ("rate", "--optimizer.rate"), ("--zzz", "")],
)
def test_what_was_meant_is_like_it_or_ends_the_same(name, meant):
    known = ["--query", "--optimizer.rate", "--optimizer.groups.gates.rate"]
    assert did_you_mean(name, known) == (f"; did you mean {meant}?" if meant else "")


def test_a_flag_that_is_none_is_named_before_one_that_is_missing():
    parser = Parser()
    parser.add_argument("--query", required=True)
    with pytest.raises(InputError, match="no such flag: --querry; did you mean --query"):
        parser.parse_args(["--querry=a.png"])
    assert parser.parse_args(["--quer=a.png"]).query == "a.png"  # shortened, as argparse allows
    assert parser.parse_args(["--query", "--with space"]).query == "--with space"
