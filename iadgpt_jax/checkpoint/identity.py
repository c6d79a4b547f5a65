"""A short name for the content of a checkpoint: tells whether results were made with this one, whichever folder it
lies in. A copy in a bucket has another name than one in a folder."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

from iadgpt_jax.bucket_files import listing
from iadgpt_jax.buckets import is_bucket
from iadgpt_jax.checkpoint.files import MODEL_FILE, STEPS

SAMPLES, SAMPLE_BYTES = 16, 1 << 16  # read of a file, evenly spread; smaller files are read whole


def checkpoint_identity(directory: Path, step: int) -> str:
    """16 hex digits of a workdir's step, or of a Hugging Face directory.

    Of large files their size and samples are hashed, so that it takes no longer for a larger model. Training changes
    every weight, so two checkpoints that were trained apart differ in any sample. In a bucket the checksums that it
    keeps of the step's files are hashed instead, without the files beside the steps; so a checkpoint that is copied
    from a folder to a bucket or back changes its name.
    """
    digest = sha256()
    if is_bucket(directory):  # which keeps checksums itself
        for name, stored in sorted(listing(directory / STEPS / str(step)).items()):
            digest.update(f"{name}\0{stored.bytes}\0{stored.checksum}\0".encode(errors="surrogatepass"))
        return digest.hexdigest()[:16]
    for path in _files(directory, step):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(directory).as_posix()}\0{size}\0".encode(errors="surrogatepass"))
        with open(path, "rb") as stream:
            if size <= SAMPLES * SAMPLE_BYTES:
                digest.update(stream.read())
                continue
            for number in range(SAMPLES):
                stream.seek((size - SAMPLE_BYTES) * number // (SAMPLES - 1))
                digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()[:16]


def _files(directory: Path, step: int) -> list[Path]:
    """All files of the step and those beside the steps that describe the model; of a Hugging Face directory, all."""
    of_step = directory / STEPS / str(step)
    if not of_step.is_dir():
        return sorted(path for path in directory.iterdir() if path.is_file())
    described = [path for path in (directory / MODEL_FILE,) if path.is_file()]
    inside = [Path(folder) / name for folder, _, names in os.walk(of_step) for name in names]
    return sorted(described + inside)
