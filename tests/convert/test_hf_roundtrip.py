"""Export, what transformers makes of it, and import back, on small random models."""

from __future__ import annotations

import json

import jax
import ml_dtypes
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import NamedSharding, PartitionSpec
from safetensors.numpy import load_file
from transformers import AutoImageProcessor, AutoTokenizer, Qwen2_5_VLForConditionalGeneration

from iadgpt_jax.convert.hf_export import export_hf
from iadgpt_jax.convert.hf_import import open_hf
from iadgpt_jax.convert.names import GATES, PLACES
from iadgpt_jax.data.detection_prompt import NORMALITY
from iadgpt_jax.data.native_resolution import PUBLISHED
from iadgpt_jax.errors import InputError
from tests.convert.checkpoints import fitted_small, leaf_shapes, random_params, write_checkpoint, write_tensors
from tests.models.qwen2_5_vl.qwen_pair import Pair, hf_inputs, rows_of, slot_budget
from tests.models.qwen2_5_vl.test_parity import BUDGET, IMAGE_SLOTS, SLOTS, close
from tests.models.qwen2_5_vl.test_parity import chats as draw_chats

TIED = dict(language=dict(tied=True))
IRREGULAR = dict(taps=False, vision=dict(depth=5, full_blocks=(1, 4)), language=dict(depth=3))


def same_bits(one, two):
    one, two = flatten_dict(one, sep="/"), flatten_dict(two, sep="/")
    assert one.keys() == two.keys()
    for path in one:
        a, b = np.asarray(one[path]), np.asarray(two[path])
        assert a.dtype == b.dtype and a.shape == b.shape, path
        assert a.tobytes() == b.tobytes(), path


def files_of(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def stock(directory):
    model, info = Qwen2_5_VLForConditionalGeneration.from_pretrained(directory, dtype="auto", output_loading_info=True)
    return model, {key: sorted(value) for key, value in info.items() if value}


@pytest.mark.parametrize("changes", [{}, TIED, IRREGULAR], ids=["untied", "tied", "irregular"])
@pytest.mark.parametrize("shard_bytes", [10**9, 40_000], ids=["one file", "shards"])
def test_there_and_back_bit_for_bit(tmp_path, changes, shard_bytes):
    config, params = write_checkpoint(tmp_path / "hf", shard_bytes=shard_bytes, **changes)
    assert (tmp_path / "hf" / "model.safetensors.index.json").exists() == (shard_bytes < 10**9)
    back = open_hf(tmp_path / "hf")
    assert back.config == config
    same_bits(back.params(), params)
    model, info = stock(tmp_path / "hf")
    assert info == {} and model.dtype == torch.float32
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_bfloat16_survives_import_and_export(tmp_path):
    config, tokenizer = fitted_small()
    tokenizer.save(tmp_path / "tokenizer")
    params = random_params(config, dtype=ml_dtypes.bfloat16)
    export_hf(params, config, tmp_path / "tokenizer", tmp_path / "one", shard_bytes=30_000)
    for dtype in (None, np.float32):  # as stored, and by way of float32
        imported = open_hf(tmp_path / "one").params(dtype)
        out = tmp_path / f"two-{dtype}"
        export_hf(imported, config, tmp_path / "one", out, dtype="bfloat16", shard_bytes=30_000)
        assert files_of(out) == files_of(tmp_path / "one")
    assert stock(tmp_path / "one")[0].dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [np.float16, np.float64, "mixed"])
def test_every_float_dtype_is_read(tmp_path, dtype):
    config, params = write_checkpoint(tmp_path / "hf")
    file = tmp_path / "hf" / "model.safetensors"
    tensors = load_file(file)
    if dtype == "mixed":
        first = next(iter(tensors))
        tensors[first] = tensors[first].astype(np.float16)
    else:
        tensors = {name: value.astype(dtype) for name, value in tensors.items()}
    write_tensors(tmp_path / "hf", tensors)
    hf = open_hf(tmp_path / "hf")
    assert hf.dtype == (np.float16 if dtype is np.float16 else np.float32)
    for path, leaf in flatten_dict(hf.params(), sep="/").items():
        np.testing.assert_allclose(leaf.astype(np.float32), flatten_dict(params, sep="/")[path], rtol=1e-3, atol=1e-4)


def test_in_memory_layout_as_transformers_saves_it(tmp_path):
    """save_pretrained's names and configuration, and the in-memory names themselves, give the same parameters."""
    config, params = write_checkpoint(tmp_path / "hf")
    model, _ = stock(tmp_path / "hf")
    model.save_pretrained(tmp_path / "saved", max_shard_size="50KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "saved" / name).write_bytes((tmp_path / "hf" / name).read_bytes())
    same_bits(open_hf(tmp_path / "saved").params(), params)

    state = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    assert "model.visual.patch_embed.proj.weight" in state and "model.language_model.norm.weight" in state
    for file in (tmp_path / "hf").glob("*.safetensors"):
        file.unlink()
    write_tensors(tmp_path / "hf", state)
    same_bits(open_hf(tmp_path / "hf").params(), params)


def test_head_beside_tied_embeddings(tmp_path):
    """A tied checkpoint may store its head too, if it is the same."""
    config, params = write_checkpoint(tmp_path / "hf", language=dict(tied=True))
    tensors = load_file(tmp_path / "hf" / "model.safetensors")
    for delta, fits in ((0, True), (1, False)):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + np.float32(delta)
        write_tensors(tmp_path / "hf", tensors)
        if fits:
            same_bits(open_hf(tmp_path / "hf").params(), params)
        else:
            with pytest.raises(InputError, match="lm_head.weight differs from the embeddings"):
                open_hf(tmp_path / "hf")


def test_import_onto_sharded_devices_equals_import_on_one(tmp_path):
    """Eight devices, every dimension split that can be: the same values, each device holding its part."""
    language = dict(width=64, mlp=64, heads=4, mrope_section=(2, 3, 3))
    config, params = write_checkpoint(tmp_path / "hf", language=language, vision=dict(mlp=48, out=64))
    mesh = jax.make_mesh((4, 2), ("fsdp", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 2)

    def split(shape):
        axes, free = [None] * len(shape), ["tensor", "fsdp"]
        for at in reversed(range(len(shape))):
            if free and shape[at] > 1 and shape[at] % mesh.shape[free[-1]] == 0:
                axes[at] = free.pop()
        return NamedSharding(mesh, PartitionSpec(*axes))

    shardings = {path: split(shape) for path, shape in leaf_shapes(config).items()}
    sharded = open_hf(tmp_path / "hf").params(shardings=unflatten_dict(shardings, sep="/"))
    same_bits(sharded, params)
    gate = sharded["language"]["groups"]["plain"]["mlp"]["gate"]["kernel"]
    assert len({str(shard.index) for shard in gate.addressable_shards}) == 8


def test_stock_logits_are_ours(tmp_path):
    """The exported directory in transformers and the imported one here: float32 logits on images and text."""
    config, _ = write_checkpoint(tmp_path / "hf", **TIED)
    model, info = stock(tmp_path / "hf")
    assert info == {}
    hf = open_hf(tmp_path / "hf")
    pair = Pair(hf.config, model.eval(), hf.params())
    batch = draw_chats(config, 0)
    rows, spans = rows_of(batch, config, SLOTS, IMAGE_SLOTS, slot_budget(config, *BUDGET))
    ours = pair.logits(rows)
    for row, row_chats in enumerate(batch):
        for span, chat in zip(spans[row], row_chats, strict=True):
            with torch.no_grad():
                close(ours[row, span], model(**hf_inputs(chat, config)).logits[0], 1e-4)


def test_trained_gates_travel_and_are_announced(tmp_path):
    config, tokenizer = fitted_small(positions="aligned", places=True)
    tokenizer.save(tmp_path / "tokenizer")
    params = random_params(config)
    params["vision"]["fusion"]["gates"] = np.array([0.5, 0, -0.25], np.float32)
    said = export_hf(params, config, tmp_path / "tokenizer", tmp_path / "hf", info=dict(stage=3, image_side=112))
    assert "gates 0.5, 0, -0.25" in said and "aligned image positions and places of" in said and "\n" not in said
    card = (tmp_path / "hf" / "README.md").read_text()
    assert "Trained through stage 3 at 112×112 pixels." in card and said[1:] in card
    back = open_hf(tmp_path / "hf")
    known = dict(stage=3, image_side=112, detection_prompt=NORMALITY.to_dict(), image_pixels=list(PUBLISHED))
    assert back.config == config and back.info == known
    same_bits(back.params(), params)
    _, info = stock(tmp_path / "hf")  # loads, but for the tensor it has no place for
    assert info == {"unexpected_keys": [GATES, PLACES]}
    with pytest.raises(InputError, match=r"gates are 0\.5, 0, -0\.25, not 0"):
        export_hf(params, config, tmp_path / "tokenizer", tmp_path / "other", stock=True)
    assert not (tmp_path / "other").exists()


def test_stock_export_says_nothing(tmp_path):
    config, tokenizer = fitted_small()
    tokenizer.save(tmp_path / "tokenizer")
    assert export_hf(random_params(config), config, tmp_path / "tokenizer", tmp_path / "hf", stock=True) == ""


def test_what_stands_beside_the_weights(tmp_path):
    config, _ = write_checkpoint(tmp_path / "hf")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is it normal?"}]}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text.endswith("<|vision_start|><|image_pad|><|vision_end|>Is it normal?<|im_end|>\n<|im_start|>assistant\n")
    assert config.tokens.image in tokenizer(text).input_ids
    processor = AutoImageProcessor.from_pretrained(tmp_path / "hf")
    assert processor.patch_size == 14 and processor.merge_size == 2
    model, _ = stock(tmp_path / "hf")
    assert model.generation_config.eos_token_id == [config.tokens.chat_end, config.tokens.end_of_text]
    assert model.config.video_token_id == tokenizer.convert_tokens_to_ids("<|video_pad|>")
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["torch_dtype"] == "float32"


def test_an_existing_directory_is_not_overwritten(tmp_path):
    write_checkpoint(tmp_path / "hf")
    before = files_of(tmp_path / "hf")
    with pytest.raises(InputError, match="exists already"):
        write_checkpoint(tmp_path / "hf", language=dict(tied=True))
    assert files_of(tmp_path / "hf") == before


def test_a_failing_export_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("iadgpt_jax.convert.hf_export.copy_tokenizer", fail)
    with pytest.raises(OSError, match="disk full"):
        write_checkpoint(tmp_path / "hf")
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer"]
