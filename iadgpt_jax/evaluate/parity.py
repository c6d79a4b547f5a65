"""A checkpoint and a Hugging Face directory side by side, in float32 on the same images and prompt.

The other side runs in transformers. A stock model runs with full attention matrices, from which score and map are read
by definition; a directory with the PyTorch twin is asked by its own `inspect`, attention as it will run for its users.
torch is needed for that side alone. Suffixes: S decoder slots, V vocabulary, N merged tokens of the query image.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from iadgpt_jax.checkpoint.load import LoadedModel, load_model
from iadgpt_jax.convert.hf_export import differences, fusion_gates
from iadgpt_jax.convert.twin import has_twin
from iadgpt_jax.data.detection_prompt import prompt_of
from iadgpt_jax.data.encode import Encoded, Encoder
from iadgpt_jax.data.images import read_image, resize_square
from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.data.sources import open_source
from iadgpt_jax.data.tasks.instance import Block, Detection, Instance
from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.parity_dataset import inspect_both
from iadgpt_jax.infer.margin import margin_of, probability
from iadgpt_jax.models.iadgpt.config import MAP_LAYERS
from iadgpt_jax.models.protocols import Model, ModelConfig
from iadgpt_jax.models.qwen2_5_vl.config import GROUPS
from iadgpt_jax.models.registry import make_module
from iadgpt_jax.models.rows import Rows

# What float32 rounding alone leaves far behind.
TOLERANCES = {"logits.kl_max": 1e-6, "margin.max_abs": 1e-3, "score.max_abs": 1e-5, "map.max_abs": 1e-4}
AUROC_TOLERANCE = 1e-4  # of a whole dataset inspected by both: four decimals


@dataclass(frozen=True)
class Outputs:
    """One prompt through one model: features float32[images · N, E], logits float32[S, V], margin, map float32[N]."""

    features: np.ndarray
    logits: np.ndarray
    margin: float
    map: np.ndarray | None

    @property
    def score(self) -> float:
        return probability(self.margin)


@dataclass(frozen=True)
class Report:
    """values: figure name -> number. note: what is known beforehand to differ, "" if nothing."""

    values: dict[str, float]
    note: str

    @property
    def within_tolerance(self) -> bool:
        return (
            self.values["logits.top1"] == 1.0
            and all(self.values.get(name, 0.0) <= bound for name, bound in TOLERANCES.items())
            and all(
                abs(value - self.values[name.replace(".ours", ".theirs")]) < AUROC_TOLERANCE
                for name, value in self.values.items()
                if name.endswith("_auroc.ours")
            )
        )

    def table(self) -> str:
        lines = [f"{'figure':<20} {'value':>12} {'tolerance':>12}"]
        for name, value in self.values.items():
            bound = "1" if name == "logits.top1" else f"{TOLERANCES[name]:.0e}" if name in TOLERANCES else ""
            lines.append(f"{name:<20} {value:>12.4g} {bound:>12}")
        lines.append("within tolerance" if self.within_tolerance else "OUT OF TOLERANCE")
        return "\n".join(lines + ([f"note: {self.note}"] if self.note else []))

    def json(self) -> str:
        nested: dict = {}
        for name, value in self.values.items():
            group, figure = name.split(".")
            nested.setdefault(group, {})[figure] = value
        return json.dumps(nested | {"within_tolerance": self.within_tolerance, "note": self.note}, indent=2) + "\n"


def verify(
    checkpoint: str | Path,
    hf: str | Path,
    images: Sequence[str | Path] | None = None,
    *,
    dataset: str = "",
    watch: Callable[[Iterable, int], Iterable] = lambda items, total: items,
    **options,
) -> Report:
    """Compare on the given photographs (the first is the good reference of the others) or on built-in ones; with
    `dataset` (see data/sources) let both sides inspect that, too. `options` as those of `inspect_both`.

    Raises InputError where one of the two cannot be loaded, torch is missing, or a dataset is given and no twin.
    """
    theirs = load_theirs(Path(hf))
    model = load_model(checkpoint)
    side = model.info["image_side"]
    pictures = [resize_square(read_image(path), side) for path in images or ()] or builtin_images(side)
    found = compare(model, theirs, pictures)
    if not dataset:
        return found
    if not hasattr(theirs, "inspect_many"):
        raise InputError(f"{hf} holds no PyTorch twin, which alone can inspect a dataset: leave --dataset out")
    source = open_source(dataset, side=None, seed=options.get("seed", 0), mask_resize="nearest")
    values = dict(found.values)
    for name, value in inspect_both(model, theirs, source, watch=watch, **options).items():
        values[name] = max(value, values.get(name, 0.0))
    return Report(values, found.note)


def compare(model: LoadedModel, theirs, pictures: Sequence[np.ndarray]) -> Report:
    """theirs: from `load_theirs`. pictures: uint8[H, W, 3] with sides of whole merged tokens; the first is the
    reference of all others."""
    twin = hasattr(theirs, "inspect")
    if twin:  # it squashes what it inspects
        pictures = [resize_square(picture, theirs.prompter.side) for picture in pictures]
    instances = [inspection(pictures[:1], query) for query in pictures[1:]] or [inspection([], pictures[0])]
    encoder = Encoder(model.config, model.tokenizer, prompt_of(model.info))
    encoded = [encoder(instance) for instance in instances]
    outputs = list(run_ours(model, encoded)), list(run_theirs(theirs, model, instances, encoded))
    return report(*outputs, "" if twin else differences(model.config, fusion_gates(model.params, model.config)))


def inspection(references: Sequence[np.ndarray], query: np.ndarray) -> Instance:
    block = Block(images=(query,), sees=len(references), detection=Detection())
    return Instance("verify", (block,), tuple(references))


def builtin_images(side: int) -> list[np.ndarray]:
    """Three textures, always the same: two square, one half as high (in whole merged tokens)."""
    rng = np.random.default_rng(0)
    low = max(side // 56, 1) * 28
    coarse = [rng.integers(0, 256, (6, 6, 3), dtype=np.uint8) for _ in range(3)]
    return [cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
            for image, size in zip(coarse, [(side, side), (side, side), (side, low)], strict=True)]  # fmt: skip


def run_ours(model: LoadedModel, encoded: Sequence[Encoded]):
    """Outputs of our model, one compiled function for all prompts."""
    config = model.config
    shape = RowShape(
        slots=max(e.slots for e in encoded),
        images=max(len(e.images) for e in encoded),
        patches=max(len(image.patches) for e in encoded for image in e.images),
        maps=1,
        keyword_rows=max(len(e.blocks[0].keyword_rows) for e in encoded),
        targets=1,
        mask_side=1,
    )
    network = make_module(config)

    @jax.jit
    def forward(params, rows: Rows):
        def everything(network: Model, rows: Rows):
            outputs = network(rows)
            maps = outputs.probability_maps
            if maps is not None and model.info.get("map_space") == "logit":
                maps = jax.nn.sigmoid(outputs.logit_maps)
            return network.encode_images(rows.patches, rows.grid), network.logits(outputs.hidden), maps

        return network.apply({"params": params}, rows, method=everything)

    for e in encoded:
        rows = pack([e], 1, shape, config.vision).rows
        (features, valid), logits, maps = jax.device_get(forward(model.params, jax.tree.map(jnp.asarray, rows)))
        logits = logits[0, : e.slots]
        tokens = int(np.prod(e.images[-1].grid))
        yield Outputs(
            features[0][valid[0]],
            logits,
            model_margin(logits[len(e.shared) + e.blocks[0].answer], model),
            None if maps is None else maps[0, 0, 0, :tokens],
        )


def load_theirs(hf: Path):
    """The Hugging Face model in float32: the twin where one lies beside the weights, else stock transformers with eager
    attention, so that whole attention matrices come out."""
    if not (hf / "config.json").is_file():
        raise InputError(f"no Hugging Face directory at {hf}: it has no config.json; give the one to compare with")
    try:
        import torch
        from transformers import Qwen2_5_VLForConditionalGeneration
    except ImportError as error:
        raise InputError(f"verify needs torch for transformers' side ({error}); pip install torch") from error
    try:
        if has_twin(hf):
            from iadgpt_jax.convert.torch_twin.modeling_iadgpt import IADGPTForConditionalGeneration

            return IADGPTForConditionalGeneration.from_pretrained(hf, dtype=torch.float32).eval()
        return Qwen2_5_VLForConditionalGeneration.from_pretrained(
            hf, dtype=torch.float32, attn_implementation="eager"
        ).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"transformers cannot load {hf}: {error}; try convert_hf.py import on it") from error


def run_theirs(theirs, model: LoadedModel, instances: Sequence[Instance], encoded: Sequence[Encoded]):
    """Outputs of transformers, or of the twin."""
    import torch
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    processor = Qwen2VLImageProcessorPil(do_resize=False)
    config, twin = model.config, hasattr(theirs, "inspect")
    for instance, e in zip(instances, encoded, strict=True):
        pictures = [*instance.shared, *instance.blocks[0].images]
        seen = processor(images=pictures, return_tensors="pt")
        segments = (e.shared, e.blocks[0].segment)
        ids = torch.tensor([[token for segment in segments for token in segment.tokens]])
        kinds = torch.tensor([[int(index >= 0) for segment in segments for index in segment.image]])
        with torch.no_grad():
            features = theirs.model.visual(seen["pixel_values"], seen["image_grid_thw"]).pooler_output.numpy()
            out = theirs(
                input_ids=ids, mm_token_type_ids=kinds, output_attentions=config.taps and not twin, use_cache=False,
                **seen,
            )  # fmt: skip
        logits = out.logits[0].float().numpy()
        if twin:
            found = theirs.inspect(instance.blocks[0].images[0], instance.shared, explain=False)
            yield Outputs(features, logits, found.margin, found.map.reshape(-1))
            continue
        margin = model_margin(logits[len(e.shared) + e.blocks[0].answer], model)
        yield Outputs(features, logits, margin, map_of(out.attentions, e, config) if config.taps else None)


def map_of(attentions, e: Encoded, config: ModelConfig) -> np.ndarray:
    """The abnormal words' map from full attention matrices [1, H, S, S], by its definition (paper eq. 5)."""
    block, base = e.blocks[0], len(e.shared)
    start = base + block.map_start
    columns = slice(start, start + int(np.prod(e.images[-1].grid)))
    per_group = config.language.depth // GROUPS
    tapped = range(per_group - 1, config.language.depth, per_group)[MAP_LAYERS[config.map_layers]]
    layers = [attentions[layer][0].mean(0).numpy() for layer in tapped]
    return sum(
        weight * attention[base + row, columns] for attention in layers for row, weight, _ in block.keyword_rows
    ) / len(layers)


def model_margin(logits: np.ndarray, model: LoadedModel) -> float:
    """That of the model's detection prompt, from the logits float32[V] of the answer's first token."""
    return float(margin_of(logits, prompt_of(model.info).answer_tokens(model.tokenizer)))


def report(ours: Sequence[Outputs], theirs: Sequence[Outputs], note: str = "") -> Report:
    """Figures over all prompts. Raises InputError where the two models differ in shape."""
    values: dict[str, float] = {}
    for name in ("features", "logits", "margin", "score", "map"):
        pairs = [(getattr(a, name), getattr(b, name)) for a, b in zip(ours, theirs, strict=True)]
        if any(a is None for a, _ in pairs):
            continue
        if np.shape(pairs[0][0]) != np.shape(pairs[0][1]):
            raise InputError(
                f"the two models differ in shape: {name} {np.shape(pairs[0][0])} here, {np.shape(pairs[0][1])} in the "
                "Hugging Face directory; compare a checkpoint with its own export"
            )
        apart = [np.abs(np.asarray(a, np.float64) - b) for a, b in pairs]
        values[f"{name}.max_abs"] = float(max(a.max() for a in apart))
        values[f"{name}.mean_abs"] = float(np.mean([a.mean() for a in apart]))
        if name == "logits":
            values["logits.kl_max"] = max(float(divergence(b, a).max()) for a, b in pairs)
            values["logits.top1"] = float(np.mean(np.concatenate([a.argmax(-1) == b.argmax(-1) for a, b in pairs])))
    return Report(values, note)


def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """KL(softmax p ‖ softmax q) of every row, in float64."""
    log_p, log_q = (
        x - x.max(-1, keepdims=True) - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True))
        for x in (p.astype(np.float64), q.astype(np.float64))
    )
    return (np.exp(log_p) * (log_p - log_q)).sum(-1)
