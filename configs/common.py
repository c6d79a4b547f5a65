"""What all stages share. A stage file calls `common(size)` and changes what makes it that stage.

`:tiny` trains from scratch on procedural products, on two CPU cores; `:bench` is the smallest that is laid out as full
size (tools/benchmark.py measures it); `:3b` and `:7b` start from published weights.
"""

import ml_collections

from iadgpt_jax.errors import InputError


def common(size: str) -> ml_collections.ConfigDict:
    size, _, where = size.partition("@")
    if size not in ("tiny", "bench", "3b", "7b"):
        raise InputError(f"no configuration for size {size!r}: append :tiny, :bench, :3b or :7b to the file's name")
    tiny, small = size == "tiny", size in ("tiny", "bench")
    if small and where:
        raise InputError(f"no configuration for {size}@{where}: slices are for :3b and :7b")
    c = ml_collections.ConfigDict()
    c.architecture = "iadgpt"  # a line of models/registry.py
    c.size = size
    c.slice = where  # the TPU slice of `:7b@v5p:2x2x4`, whose mesh, rows and remat are in configs/slices.py
    c.seed = 0
    c.init_from = ""  # a workdir, imported checkpoint or Hugging Face directory; empty: random weights (tiny, bench)

    c.source = "procedural" if small else ""  # or the path of a prepared dataset or of a folder in MVTec layout
    c.source_categories = 800  # of the procedural source
    c.detection_prompt = ""  # one of data/detection_prompt.PROMPTS; empty: that of init_from, else "normality"
    c.categories = ""  # only these of the source, separated by commas; empty: all
    c.image_side = {"tiny": 112, "bench": 224}.get(size, 448)
    # Random flips and transposes, and red, green and blue permuted. They help training from scratch; for pretrained
    # weights they shift the inputs and make colour words false.
    c.augment = ml_collections.ConfigDict({"flips": tiny, "colours": tiny})
    c.mixture = ml_collections.ConfigDict()

    c.steps = 0
    c.rows = 8  # packed rows per step
    c.instances = 8  # instances drawn per step and packed into them
    c.pack = ml_collections.ConfigDict()
    c.pack.group = 0  # rows packed together and filled up with queries; 0: a process's rows, with what was drawn alone
    c.pack.top_up = False  # fill up with further instances first
    c.row = ml_collections.ConfigDict()
    c.row.prefix, c.row.lanes = 0, ()  # laned rows: (number, slots) of each group of lanes; (): a flat row of `slots`
    c.row.slots = 4096
    c.row.images = 10
    c.row.patches = (c.image_side // 14) ** 2  # per image
    c.row.maps = 6
    c.row.keyword_rows = 8 if tiny else 12
    c.row.targets = 192
    c.row.mask_side = 28 if tiny else 224
    c.row.verdict_weight = 1.0  # of a detection's Yes or No in the answer loss, beside words that weigh 1
    c.loader_threads = 1

    c.optimizer = ml_collections.ConfigDict()
    c.optimizer.kind = "muon" if tiny else "adamw"  # from scratch Muon learns to compare in a fraction of the steps
    c.optimizer.rate = 4e-3 if tiny else 1e-5
    c.optimizer.warmup = 30 if tiny else 500
    c.optimizer.floor = 0.05 if tiny else 0.0
    c.optimizer.b1, c.optimizer.b2 = 0.9, 0.98 if tiny else 0.95
    c.optimizer.weight_decay = 0.05
    c.optimizer.clip = 1.0
    c.optimizer.moments = "float32"
    c.frozen = ""  # regular expression over parameter paths

    c.map_space = "none"  # "logit", "log_probability", "probability" (the paper's) or "none": models/iadgpt/losses.py
    c.loss = ml_collections.ConfigDict({"answer": 1.0, "focal": 1.0, "dice_abnormal": 1.0, "dice_normal": 1.0})
    c.loss.binary_focal = 0.0

    c.dtype = "float32" if small else "bfloat16"
    c.attention = "auto"  # kernel by platform: splash on TPU, cudnn on GPU in bfloat16, else xla (models/attention/)
    c.remat = "none" if small else "attention"  # what layers keep for their backward pass (models/remat.py)
    c.scan_unroll = size == "bench"  # write the layers out instead of looping over them: compiles longer
    c.microbatches = 1  # parts of a step's rows that run one after the other, their gradients summed (train/step.py)
    c.vocab_chunks = 1 if small else 8  # parts of the vocabulary whose logits exist at a time
    c.mesh = ml_collections.ConfigDict({"data": 1 if not tiny else -1, "fsdp": -1 if not tiny else 1, "tensor": 1})

    c.log_every = 10
    c.profile = ml_collections.ConfigDict({"first": 10, "steps": 0})  # steps to trace for XProf, into the workdir
    c.checkpoint_every = 500
    c.keep = 2
    return c


def from_scratch(c: ml_collections.ConfigDict) -> None:
    """Supervision that trains from random weights (DESIGN.md §4): maps as logits, and they weigh more than words."""
    c.map_space = "logit"
    c.loss.answer, c.loss.focal, c.loss.binary_focal = 0.5, 2.0, 4.0
    c.row.verdict_weight = 3.0


def laned(c: ml_collections.ConfigDict, prefix: int, *groups: tuple[int, int]) -> None:
    """Rows of a prefix area and groups of (number, slots) lanes."""
    c.row.prefix, c.row.lanes = prefix, groups
    c.row.slots = prefix + sum(count * slots for count, slots in groups)


def filled(c: ml_collections.ConfigDict, rows: int, per_row: int, top_up: bool = False) -> None:
    """Rows filled up in pairs, from `per_row` instances each: what full size trains on."""
    c.rows, c.instances = rows, rows * per_row
    c.pack.group, c.pack.top_up = 2, top_up
