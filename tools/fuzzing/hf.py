"""A Hugging Face directory: config.json, preprocessor_config.json, the index, and the headers of its tensors."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from random import Random

from iadgpt_jax.convert.hf_import import open_hf
from iadgpt_jax.convert.shards import INDEX
from tools import random_checkpoint
from tools.fuzzing.mutate import bytes_of, json_bytes
from tools.fuzzing.run import Case

LENGTH = "<Q"  # a safetensors file begins with the number of its header's bytes


def prepared(folder: Path) -> Case:
    """A case: one file of a small checkpoint changed, all of it opened and checked, no tensor's values read."""
    directory = folder / "hf"
    random_checkpoint.main(["--size=tiny", f"--out={directory}", "--shard_bytes=2000000"])
    shards = sorted(path.name for path in directory.glob("*.safetensors"))
    whole = {name: (directory / name).read_bytes() for name in ("config.json", "preprocessor_config.json", INDEX)}
    whole |= {name: (directory / name).read_bytes() for name in shards}

    def case(rng: Random) -> None:
        name = rng.choice(("config.json", "config.json", "preprocessor_config.json", INDEX, rng.choice(shards)))
        changed = changed_shard if name in shards else changed_json
        path = directory / name
        path.write_bytes(changed(whole[name], rng))
        try:
            hf = open_hf(directory)
            assert len(hf.shards) > 0 and hf.config.vision.depth > 0
        finally:
            path.unlink()  # a file that is mapped into memory is not to be cut
            path.write_bytes(whole[name])

    return case


def changed_json(data: bytes, rng: Random) -> bytes:
    return json_bytes(json.loads(data), rng)


def changed_shard(data: bytes, rng: Random) -> bytes:
    """Its header changed as JSON, with the right length in front; or any of its bytes."""
    if rng.random() < 0.3:
        return bytes_of(data, rng)
    start = struct.calcsize(LENGTH)
    (length,) = struct.unpack(LENGTH, data[:start])
    header = json_bytes(json.loads(data[start : start + length]), rng)
    return struct.pack(LENGTH, len(header)) + header + data[start + length :]
