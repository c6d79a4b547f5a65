"""What training writes for TensorBoard is read back by TensorBoard's own reader; no fault of the disk ends a run."""

from __future__ import annotations

import os
import subprocess
import sys

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New
from tensorboard.util.tensor_util import make_ndarray

from iadgpt_jax.train.board import Board


def events(path) -> list[Event]:
    reader, found = PyRecordReader_New(str(path)), []
    while True:
        try:
            reader.GetNext()  # checks both sums of every record
        except Exception as error:  # its own class for the end of the file
            assert "OutOfRange" in type(error).__name__, error
            return found
        found.append(Event.FromString(reader.record()))


def scalars(path) -> dict[tuple[int, str], float]:
    return {
        (event.step, one.tag): float(make_ndarray(one.tensor)) for event in events(path) for one in event.summary.value
    }


def test_curves_are_read_back(tmp_path):
    said = []
    board = Board(tmp_path, said.append)
    board.write(1, {"loss": 2.5, "mix/inspect/questions": 0.25})
    board.flush()
    (path,) = tmp_path.glob("events.out.tfevents.*")
    assert scalars(path) == {(1, "loss"): 2.5, (1, "mix/inspect/questions"): 0.25}, "before the run ends"
    board.write(2, {"loss": float("nan")})
    board.close()
    first, one, two = events(path)
    assert first.file_version == "brain.Event:2" and first.wall_time <= one.wall_time <= two.wall_time
    assert {value.metadata.plugin_data.plugin_name for value in one.summary.value} == {"scalars"}
    assert two.step == 2 and make_ndarray(two.summary.value[0].tensor) != make_ndarray(two.summary.value[0].tensor)
    Board(tmp_path, said.append).close()  # a run that goes on, within the same second
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 2 and not said


def test_a_disk_that_takes_nothing_costs_the_board_not_the_run(tmp_path):
    said = []
    board = Board(tmp_path, said.append)
    board.flush()
    os.dup2(full := os.open("/dev/full", os.O_WRONLY), board.records._writer.fileno())
    os.close(full)
    board.write(1, {"loss": 1.0})
    board.write(2, {"loss": 1.0})
    board.close()
    (line,) = said
    assert "nothing more is written for TensorBoard (No space left on device)" in line
    (tmp_path / "file").touch()
    Board(tmp_path / "file", said.append).write(1, {"loss": 1.0})
    assert len(said) == 2 and "Not a directory" in said[1]


def test_tensorflow_is_not_imported(tmp_path):
    """It would take seconds and half a gigabyte, of every process that trains."""
    code = (
        "import sys; from iadgpt_jax.train.board import Board\n"
        f"Board({str(tmp_path)!r}, print).write(1, {{'loss': 1}})\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
