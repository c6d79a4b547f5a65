"""Commands end with one clear line and a status when the input is at fault; bugs keep their traceback."""

import subprocess
import sys

import pytest

from iadgpt_jax.errors import InputError, clear_errors


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
