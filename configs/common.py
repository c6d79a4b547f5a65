"""What all stages share. A stage file calls `common(name)` and changes what makes it that stage.

`:tiny` trains from scratch on procedural products, on two CPU cores; `:bench` is the smallest that is laid out as full
size (tools/benchmark.py measures it); `:3b` and `:7b` start from published weights.

`:7b,paper` is the paper's recipe: its batches of 64, 32 and 32 questions, its rates 1e-5, 1e-5 and 2e-6, its 3, 1 and
1 epochs. What `:7b` does instead suits larger machines. Its rows have 4096 slots and a step has 16 or 32 of them:
5 to 9 times as many questions, so an epoch is 5 to 9 times fewer updates. The noise of a gradient falls with the root
of the batch, and AdamW's steps are no longer for a larger one; so its rate is the paper's times the root of how much
larger the batch is (`rate_for`), on slices too. An update then has the paper's ratio of step to noise; weights can
move a third to a half as far in an epoch as in the paper's recipe.

Questions per step depend on how long texts are: metrics.jsonl has questions_per_step, and an epoch of a source of your
own is its questions over those.
"""

import dataclasses
import math

import ml_collections
from ml_collections import config_dict

from iadgpt_jax.data.tasks.table import TASKS, default_options
from iadgpt_jax.errors import InputError
from iadgpt_jax.models.iadgpt.config import PRESETS
from iadgpt_jax.models.vision_towers import TOWER, TOWERS

# Options of tasks at full size. Their defaults are for training from scratch, where words come hard.
FULL_SIZE = {"phrasings": 5, "synthesizers": ("cutpaste", "nsa"), "synthetic_kinds": True}

TEXT = 36  # slots of text to an image, about: what a flat row's slots are scaled by where images are larger


def common(name: str) -> ml_collections.ConfigDict:
    """The configuration of a name as size[,paper][@slice]."""
    size, recipe, where = parsed(name)
    tiny, small = size == "tiny", size in ("tiny", "bench")
    c = ml_collections.ConfigDict()
    c.architecture = "iadgpt"  # a line of models/registry.py
    c.size = size
    c.recipe = recipe  # "paper" or ""
    c.slice = where  # the TPU slice of `:7b@v5p:2x2x4`, whose mesh, rows and remat are in configs/slices.py
    c.seed = 0
    c.init_from = ""  # a workdir, imported checkpoint or Hugging Face directory; empty: random weights (tiny, bench)
    c.model = options_of(PRESETS[size])  # unset: as the start, or from random weights the size, has it

    c.source = "procedural" if small else ""  # or the path of a prepared dataset or of a folder in MVTec layout
    c.source_categories = 800  # of the procedural source
    c.detection_prompt = ""  # one of data/detection_prompt.PROMPTS; empty: that of init_from, else "normality"
    c.categories = ""  # only these of the source, separated by commas; empty: all
    # What is kept out of training (data/leakage.py): categories with the names of these benchmarks' and of those of the
    # datasets in `evaluation` (prepared ones or folders), and images with the pixels of the latter's.
    c.leakage = ml_collections.ConfigDict({"benchmarks": ("mvtec_ad", "visa"), "evaluation": ()})
    c.leakage.allow = ()  # categories that are another product than the evaluation category of their name
    c.leakage.drop = False  # leave such records out, instead of refusing to train
    # Several sources instead of that one, by name: {"parts": {"path": …, "weight": 1.0, "include": "", "exclude": ""}},
    # include and exclude being names or patterns of categories, separated by commas (data/run_sources.py).
    c.sources = ml_collections.ConfigDict()
    c.image_side = {"tiny": 112, "bench": 224}.get(size, 448)  # of the square that images are squashed to, in pixels
    # Random flips and transposes, and red, green and blue permuted. They help training from scratch; for pretrained
    # weights they shift the inputs and make colour words false.
    c.augment = ml_collections.ConfigDict({"flips": tiny, "colours": tiny})
    c.mixture = ml_collections.ConfigDict()
    c.questions = 0  # of the stage's own in an epoch, beside which those of config.replay are counted
    c.replay = ml_collections.ConfigDict()  # stage before -> what part of how many questions comes along (`replay`)

    c.steps = 0
    c.rows = 8  # packed rows per step
    c.instances = 8  # instances drawn per step and packed into them; at most, where rows are filled up
    c.pack = ml_collections.ConfigDict()
    c.pack.group = (
        0  # rows packed together and filled up with questions; 0: a process's rows, with what was drawn alone
    )
    c.row = ml_collections.ConfigDict()
    c.row.prefix, c.row.lanes = 0, ()  # laned rows: (number, slots) of each group of lanes; (): a flat row of `slots`
    c.row.lane_more = 0  # slots each lane has besides
    flat(c, 4096)
    c.row.images = 10
    c.row.patches = (c.get_oneway_ref("image_side") // 14) ** 2  # per image
    c.row.maps = 6
    c.row.keyword_rows = 8 if tiny else 12
    c.row.targets = 192
    c.row.mask_side = 28 if tiny else 224
    c.row.verdict_weight = 1.0  # of a detection's Yes or No in the answer loss, beside words that weigh 1
    c.row.words_weight = 1.0  # of words there that name the kind or the place of a defect
    c.loader_threads = 1
    c.loader_processes = 0  # that make batches, each with so many threads; 0: threads of the process that trains
    c.reduced_jpeg = True  # read JPEGs much larger than image_side at a fraction of their size (data/images.py)
    c.max_skipped = 3  # steps one after the other whose loss or gradient is not finite, before training stops
    c.max_quarantined = 0.01  # of all records, how many may be impossible to decode; one always may, unless this is 0

    c.optimizer = ml_collections.ConfigDict()
    c.optimizer.kind = "muon" if tiny else "adamw"  # from scratch Muon learns to compare in a fraction of the steps
    c.optimizer.rate = 4e-3 if tiny else 1e-5
    c.optimizer.warmup = 30 if tiny else 500
    c.optimizer.floor = 0.05 if tiny else 0.0
    c.optimizer.b1, c.optimizer.b2 = 0.9, 0.98 if tiny else 0.95
    c.optimizer.weight_decay = 0.05
    c.optimizer.clip = 1.0
    c.optimizer.moments = "float32"
    # Parameters whose path a regular expression finds train at so many times the rate; the first that finds one counts.
    # The fusion gates start at 0 and share no scale with weights: at a rate of 1e-5 they would not get past .06. From
    # scratch the rate of all is high enough for them.
    c.optimizer.groups = ml_collections.ConfigDict(
        {"gates": {"pattern": "fusion/gates$", "rate": 1.0 if small else 100.0}}
    )
    c.frozen = ""  # regular expression over parameter paths

    c.map_space = "none"  # "logit", "log_probability", "probability" (the paper's) or "none": models/iadgpt/losses.py
    c.loss = ml_collections.ConfigDict({"answer": 1.0, "focal": 1.0, "dice_abnormal": 1.0, "dice_normal": 1.0})
    c.loss.binary_focal = 0.0
    c.loss.focal_gamma = 2.0

    c.dtype = "float32" if small else "bfloat16"
    c.attention = "auto"  # kernel by platform: splash on TPU, cudnn on GPU in bfloat16, else xla (models/attention/)
    c.remat = "none" if small else "attention"  # what layers keep for their backward pass (models/remat.py)
    c.scan_unroll = size == "bench"  # write the layers out instead of looping over them: compiles longer
    c.microbatches = 1  # parts of a step's rows that run one after the other, their gradients summed (train/step.py)
    c.vocab_chunks = 1 if small else 8  # parts of the vocabulary whose logits exist at a time
    c.mesh = ml_collections.ConfigDict({"data": 1 if not tiny else -1, "fsdp": -1 if not tiny else 1, "tensor": 1})

    c.log_every = 10
    # Small parameters whose values are logged, as name/0, name/1, …: regular expressions over parameter paths.
    c.log_parameters = ml_collections.ConfigDict({"gate": "fusion/gates$"})
    c.profile = ml_collections.ConfigDict({"first": 10, "steps": 0})  # steps to trace for XProf, into the workdir
    c.checkpoint_every = 500
    c.checkpoint_minutes = 0.0 if small else 30.0  # save that often as well; 0: by steps alone
    c.keep = 2
    # Without a step for so many minutes the job is ended, with every thread's stack (train/watchdog.py). 0: never; -1:
    # 20 times the median step, but 10 minutes at least.
    c.watchdog_minutes = -1.0
    c.resume_anyway = False  # go on with a configuration or data that mean something else than what the workdir has
    return c


def parsed(name: str) -> tuple[str, str, str]:
    """(size, recipe, slice) of size[,paper][@slice]."""
    named, _, where = name.partition("@")
    size, _, recipe = named.partition(",")
    if size not in ("tiny", "bench", "3b", "7b"):
        raise InputError(f"no configuration for size {size!r}: append :tiny, :bench, :3b or :7b to the file's name")
    if recipe not in ("", "paper"):
        raise InputError(f"no recipe {recipe!r}: write {size}, or {size},paper for the paper's batches and rates")
    if size in ("tiny", "bench") and recipe:
        raise InputError(f"no configuration for {size},{recipe}: the paper's recipe is for :3b and :7b")
    if size in ("tiny", "bench") and where:
        raise InputError(f"no configuration for {size}@{where}: slices are for :3b and :7b")
    return size, recipe, where


def options_of(*configs) -> ml_collections.ConfigDict:
    """Every value of a model's configuration as a key of its own, not set, but for its name and its special tokens. Of
    vision, those of every tower, and which tower it is."""
    options = ml_collections.ConfigDict()
    fields = [(one.name, getattr(config, one.name)) for config in configs for one in dataclasses.fields(config)]
    for name, value in fields:
        if name in ("name", "tokens") or name in options:
            continue
        if type(value) in TOWERS.values():
            options[name] = options_of(value, *(tower() for tower in TOWERS.values()))
            options[name][TOWER] = config_dict.placeholder(str)
        else:
            nested = dataclasses.is_dataclass(value)
            options[name] = options_of(value) if nested else config_dict.placeholder(type(value))
    return options


def mixture(c: ml_collections.ConfigDict, **shares: float) -> None:
    """c.mixture: each task's share of the stage's questions (their sum need not be 1), the names of the sources that it
    draws from (none: all that can serve it), and every option it has. Tasks that the stage does not teach stand there
    with a share of 0."""
    for name in (*shares, *(name for name in TASKS if name not in shares)):
        options = default_options(name)
        if c.size in ("3b", "7b"):
            options |= {option: value for option, value in FULL_SIZE.items() if option in options}
        c.mixture[name] = {"weight": float(shares.get(name, 0.0)), "sources": (), "replay": "", **options}


def replay(c: ml_collections.ConfigDict, before: ml_collections.ConfigDict, share: float) -> None:
    """Let a part `share` of the questions that the stage `before` has of its own come along, in its proportions."""
    name = f"stage{before.stage}"
    c.replay[name] = {"share": share, "questions": before.questions}
    for task, options in before.mixture.items():
        if options.weight and not options.replay:
            c.mixture[task].weight, c.mixture[task].replay = options.weight, name


def from_scratch(c: ml_collections.ConfigDict) -> None:
    """Supervision that trains from random weights: maps as logits, and they weigh more than words."""
    c.map_space = "logit"
    c.loss.answer, c.loss.focal, c.loss.binary_focal = 0.5, 2.0, 4.0
    c.row.verdict_weight = 3.0


# ---- Rows. Their slots and patches follow config.image_side where they are not set themselves. ----


def flat(c: ml_collections.ConfigDict, slots: int) -> None:
    """Flat rows of `slots` at the size's own image_side; with larger images as much larger as it takes for a row to
    hold the same images and texts."""
    own = (c.image_side // 28) ** 2
    tokens = (c.get_oneway_ref("image_side") // 28) ** 2
    c.row.slots = ((tokens + TEXT) * slots // (own + TEXT) + 127) // 128 * 128


def laned(c: ml_collections.ConfigDict, prefix: int, *groups: tuple[int, int]) -> None:
    """Rows of a prefix area and groups of (number, slots) lanes, at the size's own image_side. With larger images every
    lane has room for one of them, and the prefix area for as many as it can hold."""
    own = (c.image_side // 28) ** 2
    more = (c.get_oneway_ref("image_side") // 28) ** 2 - own
    images = prefix // (own + 2)
    c.row.prefix, c.row.lanes, c.row.lane_more = more * images + prefix, groups, more
    lanes = sum(count for count, _ in groups)
    c.row.slots = more * (images + lanes) + prefix + sum(count * slots for count, slots in groups)


def filled(c: ml_collections.ConfigDict, rows: int, per_row: int) -> None:
    """Rows filled up in pairs, from at most `per_row` instances each: what full size trains on."""
    c.rows, c.instances = rows, rows * per_row
    c.pack.group = 2


def rate_for(questions: int, paper_rate: float, paper_batch: int) -> float:
    """AdamW's rate for steps of so many questions, see the top of the file."""
    return float(f"{paper_rate * math.sqrt(questions / paper_batch):.2g}")
