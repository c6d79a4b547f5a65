"""Damaged checkpoint directories: each gives its one clear line, naming file and tensor, before a value is read."""

from __future__ import annotations

import json
import shutil
import struct

import numpy as np
import pytest

from iadgpt_jax.convert.hf_import import open_hf, origin
from iadgpt_jax.errors import InputError
from tests.convert.checkpoints import edit_json, edit_tensors, write_checkpoint

NORM = "model.norm.weight"
INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """One sound checkpoint in shards and one in a single file, to be copied and damaged."""
    root = tmp_path_factory.mktemp("sound")
    write_checkpoint(root / "sharded", shard_bytes=60_000)
    write_checkpoint(root / "single")
    return root


def shard_of(directory, name):
    return directory / json.loads((directory / INDEX).read_text())["weight_map"][name]


def last_shard(directory):
    return sorted(directory.glob("model-*.safetensors"))[-1]


def truncate(file, keep):
    file.write_bytes(file.read_bytes()[:keep])


def edit_header(file, edit):
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    edit(header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def weights(edit):
    """Damage to the tensors of the single file."""
    return "single", lambda d: edit_tensors(d / "model.safetensors", edit)


def index(edit):
    return "sharded", lambda d: edit_json(d / INDEX, edit)


def config(edit):
    return "single", lambda d: edit_json(d / "config.json", edit)


def move(mapping, old, new):
    mapping[new] = mapping.pop(old)


def cut_matrix(tensors):
    tensors["visual.merger.mlp.0.weight"] = tensors["visual.merger.mlp.0.weight"][:-1]


def pickled(directory):
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


def lfs_pointer(directory):
    (directory / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def both_layouts(directory):
    shutil.copy(last_shard(directory), directory / "model.safetensors")


def double_in_index(directory):
    text = (directory / INDEX).read_text()
    (directory / INDEX).write_text(text.replace(f'"{NORM}"', f'"{NORM}": "x.safetensors", "{NORM}"'))


def double_in_shards(directory):
    """The final norm once more in another shard, under its in-memory name, listed in the index."""
    other = shard_of(directory, "visual.patch_embed.proj.weight")
    edit_tensors(other, lambda t: t.update({"model.language_model.norm.weight": np.ones(48, np.float32)}))
    edit_json(directory / INDEX, lambda i: i["weight_map"].update({"model.language_model.norm.weight": other.name}))


DAMAGE = {
    "no config": ("single", lambda d: (d / "config.json").unlink(), r"config\.json is missing"),
    "config is not JSON": ("single", lambda d: truncate(d / "config.json", 50), r"config\.json cannot be read as JSON"),
    "config is a list": (
        "single",
        lambda d: (d / "config.json").write_text("[]"),
        r"config\.json holds no JSON object",
    ),
    "another architecture": (*config(lambda c: c.update(model_type="llama")), r"config\.json: model_type is 'llama'"),
    "a width in words": (*config(lambda c: c.update(hidden_size="wide")), r"config\.json: hidden_size is 'wide'"),
    "half a layer": (*config(lambda c: c.update(num_hidden_layers=28.5)), r"num_hidden_layers is 28\.5"),
    "a size without end": (*config(lambda c: c.update(hidden_size=10**400)), r"hidden_size is 1000"),
    "no number": (*config(lambda c: c.update(rms_norm_eps=float("nan"))), r"eps is nan"),
    "truth as a width": (*config(lambda c: c.update(hidden_size=True)), r"hidden_size is True"),
    "blocks in words": (
        *config(lambda c: c["vision_config"].update(fullatt_block_indexes="all")),
        r"fullatt_block_indexes is 'all'",
    ),
    "half a block": (
        *config(lambda c: c["vision_config"].update(fullatt_block_indexes=[1, 2.5])),
        r"fullatt_block_indexes is \[1, 2\.5\]",
    ),
    "rotary sections in words": (
        *config(lambda c: c.update(rope_scaling={"type": "mrope", "mrope_section": "abc"})),
        r"mrope_section is 'abc'",
    ),
    "a token in words": (*config(lambda c: c.update(image_token_id="<image>")), r"image is '<image>'"),
    "taps in words": (*config(lambda c: c.update(iadgpt={"taps": "yes"})), r"taps is 'yes'"),
    "training is a list": (*config(lambda c: c.update(iadgpt={"training": [1]})), r"iadgpt\.training is \[1\]"),
    "config nested without end": (
        "single",
        lambda d: (d / "config.json").write_text("[" * 100_000),
        r"config\.json cannot be read as JSON",
    ),
    "index nested without end": (
        "sharded",
        lambda d: (d / INDEX).write_text("[" * 100_000),
        r"not a safetensors index",
    ),
    "vision section is a list": (*config(lambda c: c.update(vision_config=[1])), r"vision_config is \[1\]"),
    "more layers than weights": (
        *config(lambda c: c.update(num_hidden_layers=12)),
        r"model\.layers\.8\.\S+ \(and 47 more\).* model\.safetensors",
    ),
    "fewer layers than weights": (
        *config(lambda c: c.update(num_hidden_layers=4)),
        r"model\.safetensors: tensor model\.layers\.4\.\S+ \(and 47 more\)",
    ),
    "heads that do not divide": (*config(lambda c: c.update(num_attention_heads=5)), r"must divide by heads 5"),
    "gates without taps": (
        *weights(lambda t: t.update({"iadgpt.fusion.gates": np.ones(4, np.float32)})),
        r"iadgpt\.fusion\.gates has shape \[4\]",
    ),
    "no tokenizer": ("single", lambda d: (d / "tokenizer.json").unlink(), r"no tokenizer at .*tokenizer\.json"),
    "tokenizer is not JSON": ("single", lambda d: truncate(d / "tokenizer.json", 100), r"tokenizer\.json is damaged"),
    "tokenizer of another model": (
        *config(lambda c: c.update(image_token_id=9)),
        r"tokenizer\.json: token image has id 5, but 9 in config\.json",
    ),
    "vocabulary too small": (
        *config(lambda c: c.update(vocab_size=100)),
        r"tokenizer\.json has \d+ tokens, .* only 100",
    ),
    "no weights": (
        "single",
        lambda d: (d / "model.safetensors").unlink(),
        r"holds no weights: expected model\.safetensors",
    ),
    "pickle": ("single", pickled, r"pytorch_model\.bin is a pickle file, which can run any code .* save_pretrained"),
    "Git LFS pointer": ("single", lfs_pointer, r"model\.safetensors is a Git LFS pointer.*git lfs pull"),
    "empty file": (
        "single",
        lambda d: truncate(d / "model.safetensors", 0),
        r"model\.safetensors is truncated or damaged",
    ),
    "truncated values": (
        "single",
        lambda d: truncate(d / "model.safetensors", 90_000),
        r"model\.safetensors is truncated",
    ),
    "truncated header": (
        "single",
        lambda d: truncate(d / "model.safetensors", 500),
        r"model\.safetensors is truncated",
    ),
    "header length nonsense": (
        "single",
        lambda d: (d / "model.safetensors").write_bytes(b"\xff" * 4096),
        r"model\.safetensors is truncated or damaged",
    ),
    "offsets beyond the file": (
        "single",
        lambda d: edit_header(d / "model.safetensors", lambda h: h[NORM].update(data_offsets=[0, 10**12])),
        r"model\.safetensors is truncated or damaged",
    ),
    "integer tensor": (
        *weights(lambda t: t.update({NORM: np.ones(48, np.int32)})),
        r"model\.norm\.weight has dtype I32; save the weights as",
    ),
    "missing tensor": (
        *weights(lambda t: t.pop(NORM)),
        r"asks for tensor model\.norm\.weight \(alone\).*model\.safetensors",
    ),
    "unknown tensor": (
        *weights(lambda t: t.update({"model.norm.bias": np.ones(48, np.float32)})),
        r"model\.safetensors: tensor model\.norm\.bias \(alone\) has no place",
    ),
    "renamed tensor": (*weights(lambda t: move(t, NORM, "norm.weight")), r"model\.safetensors: tensor norm\.weight"),
    "mis-shaped tensor": (
        *weights(cut_matrix),
        r"visual\.merger\.mlp\.0\.weight has shape \[127, 128\], .* \[128, 128\]",
    ),
    "transposed tensor": (
        *weights(lambda t: t.update({"lm_head.weight": np.ascontiguousarray(t["lm_head.weight"].T)})),
        r"model\.safetensors: tensor lm_head\.weight has shape \[48, \d+\]",
    ),
    "tied by config, not by weights": (
        *config(lambda c: c.update(tie_word_embeddings=True)),
        r"lm_head\.weight differs from the embeddings",
    ),
    "the same tensor under two names": (
        *weights(lambda t: t.update({"model.language_model.norm.weight": t[NORM]})),
        r"is a second \S*norm\.weight",
    ),
    "the same tensor in two shards": (
        "sharded",
        double_in_shards,
        r"is a second \S*norm\.weight, already in model-0000",
    ),
    "missing shard": ("sharded", lambda d: last_shard(d).unlink(), r"model-\S+\.safetensors is missing \(1 of"),
    "truncated shard": ("sharded", lambda d: truncate(last_shard(d), 3000), r"model-\S+\.safetensors is truncated"),
    "index is not JSON": ("sharded", lambda d: truncate(d / INDEX, 99), r"index\.json is not a safetensors index"),
    "index without a map": (*index(lambda i: i.pop("weight_map")), r"index\.json is not a safetensors index"),
    "index with an empty map": (*index(lambda i: i["weight_map"].clear()), r"index\.json lists no tensor"),
    "index names an absent tensor": (
        *index(lambda i: i["weight_map"].update({"model.extra": i["weight_map"][NORM]})),
        r"lacks tensor model\.extra",
    ),
    "index forgets a tensor": (
        *index(lambda i: i["weight_map"].pop(NORM)),
        r"holds tensor model\.norm\.weight, not listed",
    ),
    "index puts a tensor in another shard": (
        *index(lambda i: i["weight_map"].update({NORM: i["weight_map"]["visual.patch_embed.proj.weight"]})),
        r"model-00001-of-\S+ lacks tensor model\.norm\.weight",
    ),
    "index points outside": (
        *index(lambda i: i["weight_map"].update({NORM: "../other.safetensors"})),
        r"placed in '\.\./other\.safetensors'",
    ),
    "index points at a pickle": (*index(lambda i: i["weight_map"].update({NORM: "x.bin"})), r"placed in 'x\.bin'"),
    "index lists a tensor twice": ("sharded", double_in_index, r"tensor model\.norm\.weight is listed twice"),
    "both layouts at once": (
        "sharded",
        both_layouts,
        r"holds both model\.safetensors and model\.safetensors\.index\.json",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage(name, sound, tmp_path):
    kind, damage, said = DAMAGE[name]
    directory = tmp_path / "hf"
    shutil.copytree(sound / kind, directory)
    open_hf(directory)  # sound until damaged
    damage(directory)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=said) as error:
        open_hf(directory)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("hf", "said"),
    [
        ("/nowhere/at/all", "no directory /nowhere/at/all"),
        ("someone/nothing-here", "no directory someone/nothing-here.* hf://someone/nothing-here"),
        ("hf://nothing", "names no repository"),
        ("hf://../../etc", "names no repository"),
    ],
)
def test_no_directory(hf, said):
    with pytest.raises(InputError, match=said):
        open_hf(hf)


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"config\.json is a file; give the directory"):
        open_hf(tmp_path / "config.json")


def test_only_a_hub_address_is_downloaded_and_its_revision_noted(monkeypatch, sound, tmp_path):
    """A path that is mistyped asks nobody."""
    asked = []
    snapshot = tmp_path / "snapshots" / "0123abcd"
    snapshot.parent.mkdir()
    snapshot.symlink_to(sound / "single")

    def download(name, revision, allow_patterns):
        asked.append((name, revision))
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(InputError):
        open_hf("owner/name")
    assert not asked
    assert open_hf("hf://owner/name@v1").directory == snapshot and asked == [("owner/name", "v1")]
    assert origin("hf://owner/name") == "hf://owner/name@0123abcd" and origin(sound / "single") == "single"
