"""digests.py: whatever happens to a file after its checksum was written is found."""

from __future__ import annotations

import json
import random

import pytest

from iadgpt_jax import digests
from iadgpt_jax.digests import DIGESTS, damage, write_digests


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "PART_BYTES", 64)  # so that files have several parts, the last one short
    (tmp_path / "d").mkdir()
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "short").write_bytes(b"abc")
    (tmp_path / "d/long").write_bytes(random.Random(0).randbytes(300))
    write_digests(tmp_path)
    assert damage(tmp_path) is None
    return tmp_path


@pytest.mark.parametrize("name", ["short", "d/long"])
def test_flipped_bits_are_found(name, folder):
    whole = (folder / name).read_bytes()
    for bit in range(0, 8 * len(whole), 5):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        (folder / name).write_bytes(flipped)
        assert damage(folder) == f"{name} has changed since it was written"
    (folder / name).write_bytes(whole)
    assert damage(folder) is None


@pytest.mark.parametrize("name", ["short", "d/long", DIGESTS])
def test_every_cut_is_found_and_so_is_a_missing_file(name, folder):
    whole = (folder / name).read_bytes()
    for length in range(0, len(whole), 3):
        (folder / name).write_bytes(whole[:length])
        assert damage(folder)
    (folder / name).unlink()
    assert damage(folder) or name == DIGESTS


def test_a_flip_in_the_checksums_themselves_is_found_or_harmless(folder):
    """Only in a blank between the values it means nothing."""
    whole = (folder / DIGESTS).read_bytes()
    bits, unnoticed = range(0, 8 * len(whole), 23), 0
    for bit in bits:
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        (folder / DIGESTS).write_bytes(flipped)
        if damage(folder) is None:
            assert json.loads(flipped) == json.loads(whole)
            unnoticed += 1
    assert unnoticed < 0.05 * len(bits)


def test_processes_that_share_the_work_find_together_what_one_finds(folder):
    whole = (folder / "d/long").read_bytes()
    for at in range(0, len(whole), 7):
        (folder / "d/long").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert sum(damage(folder, share, 3) is not None for share in range(3)) == 1


def test_files_that_came_later_do_not_matter(folder):
    (folder / "note").write_text("mine")
    assert damage(folder) is None


def test_checksums_name_no_file_outside(folder):
    """Such a file may be one that never ends."""
    written = json.loads((folder / DIGESTS).read_text())
    for name in ("/dev/zero", "../../../../../../../dev/zero", "d/../../x", "a\0b"):
        other = written | {"files": {name: {"bytes": 1, "crc32": [0]}}}
        (folder / DIGESTS).write_text(json.dumps(other))
        assert "is missing" in damage(folder)
