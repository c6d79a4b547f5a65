"""Commands end with one clear line and a status when the input is at fault; bugs keep their traceback."""

import os
import subprocess
import sys

import pytest

from iadgpt_jax.errors import InputError, clear_errors, printable


def _main(exception: BaseException) -> None:
    @clear_errors()
    def main() -> None:
        raise exception

    main()


def test_input_error_is_one_line_and_status_2(capsys):
    with pytest.raises(SystemExit) as exit_:
        _main(InputError("no such file:\n  a.png; check --query"))
    assert exit_.value.code == 2
    assert capsys.readouterr().err == "error: no such file: a.png; check --query\n"


def test_an_input_error_is_one_line_for_who_catches_it_too():
    assert str(InputError("words.jsonl has unknown fields a\r\n b\u2028c; remove them")).count("\n") == 0
    assert str(InputError("no  such file\n")) == "no  such file"


def test_a_name_cannot_steer_the_terminal(capsys):
    with pytest.raises(SystemExit):
        _main(InputError("no such file: \x1b]0;owned\x07\x9b31m\u202egnp.exe ä \udcff; check it"))
    said = capsys.readouterr().err
    assert said == "error: no such file: \\x1b]0;owned\\x07\\x9b31m\\u202egnp.exe ä \\udcff; check it\n"
    assert printable("a\tb\n") == "a\tb\n"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_name_that_the_terminal_cannot_print_does_not_end_the_work(encoding):
    code = (
        "from iadgpt_jax.errors import clear_errors\n"
        "with clear_errors():\n    print('wrote \\u00e4\\u6f22\\udcff.png')\n    print('done')"
    )
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, env=environment)
    assert (run.returncode, run.stderr) == (0, b"") and run.stdout.endswith(b"done\n")


def test_interrupt_is_status_130(capsys):
    with pytest.raises(SystemExit) as exit_:
        _main(KeyboardInterrupt())
    assert exit_.value.code == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        _main(ZeroDivisionError())


def test_importing_the_package_loads_neither_jax_nor_numpy():
    code = "import sys, iadgpt_jax; sys.exit(any(name in sys.modules for name in ('jax', 'numpy', 'tensorflow')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
