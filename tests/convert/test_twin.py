"""The PyTorch twin beside an export: with torch and transformers alone it inspects and answers as our Inspector."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score
from transformers import AutoImageProcessor, AutoTokenizer, Qwen2_5_VLForConditionalGeneration

from iadgpt_jax import Inspector
from iadgpt_jax.checkpoint.load import load_model
from iadgpt_jax.convert.hf_export import export_hf
from iadgpt_jax.convert.names import GATES, PLACES
from iadgpt_jax.convert.torch_twin.modeling_iadgpt import IADGPTForConditionalGeneration
from iadgpt_jax.convert.torch_twin.photograph_iadgpt import pixel_values
from iadgpt_jax.convert.twin import CLASS, FILES, SOURCE, has_twin
from iadgpt_jax.data.detection_prompt import NORMALITY
from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.images import resize_square
from iadgpt_jax.data.tasks.instance import Block, Detection, Instance
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.errors import InputError
from iadgpt_jax.evaluate.parity import compare, load_theirs
from tests.convert.test_hf_roundtrip import stock
from tests.small_iadgpt import lively_params, small_config

SIDE = 84  # three merged tokens: a full window and partial ones
KINDS = [("qwen", "probability"), pytest.param(("aligned", "logit"), marks=pytest.mark.nightly)]
UNTIED = dict(language=dict(tied=False))  # with tied weights a random model repeats its last token

pytestmark = [pytest.mark.usefixtures("quick_compilation"), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module", params=KINDS, ids=["qwen", "aligned"])
def directory(request, tmp_path_factory):
    """A random model with lively gates, as a stage 3 exports it."""
    positions, map_space = request.param
    root = tmp_path_factory.mktemp(positions)
    layers = "last" if positions == "aligned" else "all"  # of the maps: one kind shows both
    config = small_config(positions=positions, map_layers=layers, places=positions == "qwen", **UNTIED)
    tiny_tokenizer().save(root / "tokenizer")
    info = {"stage": 3, "image_side": SIDE, "map_space": map_space}
    export_hf(lively_params(config), config, root / "tokenizer", root / "hf", info=info)
    return root / "hf"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Five files: four of 90×100 pixels and one of the model's own size."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("photographs")
    paths = []
    for index, repeats in enumerate([(30, 25)] * 4 + [(28, 21)]):
        pixels = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8).repeat(repeats[0], axis=0).repeat(repeats[1], axis=1)
        paths.append(root / f"{index}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def inspector(directory):
    return Inspector.load(directory)


ALONE = """\
import json, sys
from importlib.machinery import PathFinder
HIDDEN = ("jax", "jaxlib", "flax", "orbax", "iadgpt_jax", "cv2", "tensorflow", "sklearn")
class Without(PathFinder):  # blind to what an evaluator does not have
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in HIDDEN else super().find_spec(name, path, target)
sys.meta_path[:] = [*sys.meta_path[: sys.meta_path.index(PathFinder)], Without]
from transformers import AutoModelForImageTextToText
directory, query, references = sys.argv[1], sys.argv[2], sys.argv[3:]
model, info = AutoModelForImageTextToText.from_pretrained(
    directory, trust_remote_code=True, dtype="float32", output_loading_info=True)
assert not any(info.values()), info
assert model.config._attn_implementation == "sdpa"
results = []
for count, ratio in ((0, 1.0), (1, 1.0), (3, 0.4)):
    found = model.inspect(query, references[:count], ratio=ratio)
    results.append({"margin": found.margin, "map": found.map.tolist(), "answer": found.answer,
                    "explanation": found.explanation, "size": found.size})
assert not any(name.split(".")[0] in HIDDEN for name in sys.modules)
print(json.dumps({"class": type(model).__name__, "results": results}))
"""


def test_alone_it_inspects_as_our_inspector_does(directory, inspector, photographs, tmp_path):
    """A process that cannot import JAX or this package: |Δmargin| ≤ 4e-5 (1e-5 of a probability),
    |Δmap| ≤ 1e-4, the same words."""
    query, *references = photographs[:4]
    kept = {name: os.environ[name] for name in ("PYTHONPYCACHEPREFIX",) if name in os.environ}  # torch's bytecode
    run = subprocess.run(
        [sys.executable, "-c", ALONE, str(directory), *map(str, (query, *references))], capture_output=True, text=True,
        cwd=tmp_path, env={"PATH": "", "HF_HOME": str(tmp_path / "hf_home"), "HF_HUB_OFFLINE": "1", **kept},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout.splitlines()[-1])
    assert told["class"] == CLASS
    for (count, ratio), theirs in zip([(0, 1.0), (1, 1.0), (3, 0.4)], told["results"], strict=True):
        one = inspector if ratio == 1 else Inspector.load(directory, ratio=ratio)
        ours = one.inspect(query, references[:count])
        assert abs(ours.margin - theirs["margin"]) <= 4e-5
        np.testing.assert_allclose(theirs["map"], ours.map, rtol=1e-4, atol=1e-6)
        assert (theirs["answer"], theirs["explanation"]) == (ours.answer, ours.explanation)
        assert tuple(theirs["size"]) == ours.size and theirs["explanation"]


@pytest.fixture(scope="module")
def twin(directory):
    return IADGPTForConditionalGeneration.from_pretrained(directory).eval()


def test_many_queries_share_their_references(inspector, twin, photographs):
    references = photographs[:2]
    queries = [Image.open(photographs[2]), photographs[4], np.array(Image.open(photographs[3]))]
    together = twin.inspect_many(queries, references, explain=False)
    for query, result in zip(queries, together, strict=True):
        alone = twin.inspect(query, references, explain=False)
        ours = inspector.inspect(query, references, explain=False)
        np.testing.assert_allclose([result.margin, alone.margin], ours.margin, rtol=0, atol=4e-5)
        assert result.defective == ours.defective
        np.testing.assert_allclose(result.map, ours.map, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(result.pixel_map, ours.pixel_map, rtol=1e-3, atol=1e-5)
        assert (result.size, result.answer, result.explanation) == (ours.size, ours.answer, "")


def test_questions_are_answered_alike(inspector, twin, photographs):
    for question in ("Where is it?", NORMALITY.question):
        ours = inspector.ask(question, photographs[0], photographs[1:3], max_new=40)
        assert twin.ask(question, photographs[0], photographs[1:3], max_new_tokens=40) == ours != ""


def test_its_prompt_is_the_encoders(directory, twin, photographs):
    """Token ids, positions of the kept tokens and keyword rows with their weights, compressed and not."""
    config = load_model(directory).config
    squares = [resize_square(np.array(Image.open(path)), SIDE) for path in photographs[:3]]
    for ratio in (1.0, 0.4):
        block = Block(images=(squares[0],), sees=2, detection=Detection())
        encoded = Encoder(config, tiny_tokenizer())(Instance("test", (block,), tuple(squares[1:]), ratio))
        prompt = twin._references(squares[1:], ratio)
        prompt.place_image(twin._features(squares[:1])[0])
        rows = prompt.add_detection(twin.prompter)
        (other,) = encoded.blocks
        assert prompt.ids == encoded.shared.tokens + other.segment.tokens
        base = len(encoded.shared)
        wanted = [(base + row, abnormal) for row, abnormal, _ in other.keyword_rows if abnormal]
        assert [row for row, _ in rows] == [row for row, _ in wanted]
        np.testing.assert_allclose([weight for _, weight in rows], [weight for _, weight in wanted])
        kinds = np.array(encoded.shared.image + other.segment.image)
        positions = np.array(encoded.shared.positions + other.segment.positions)
        np.testing.assert_array_equal(np.array(prompt.positions)[kinds < 0], positions[kinds < 0])
        for image in (0, 2):  # whole ones: in raster order from the encoder's origin
            place = np.array(prompt.positions)[kinds == image] - positions[kinds == image]
            np.testing.assert_array_equal(place, [(0, i // 3, i % 3) for i in range(9)])
        assert prompt.next == other.next_position


def chat(directory, photographs, config, words="And is this one flawless?"):
    """A chat of two images as transformers encodes it."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    one, other = ({"type": "image", "image": str(photographs[index])} for index in (0, 4))
    messages = [
        {"role": "user", "content": [one, {"type": "text", "text": "Look."}]},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": [other, {"type": "text", "text": words}]},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    images = [Image.open(photographs[index]) for index in (0, 4)]
    inputs = dict(AutoImageProcessor.from_pretrained(directory)(images, return_tensors="pt"))
    for grid in inputs["image_grid_thw"]:
        text = text.replace("<|image_pad|>", "<|held|>" * (int(grid.prod()) // 4), 1)
    ids = tokenizer(text.replace("<|held|>", "<|image_pad|>"), return_tensors="pt").input_ids
    return messages, inputs | {"input_ids": ids, "mm_token_type_ids": (ids == config.tokens.image).long()}


def test_forward_and_generate_take_what_qwen_takes(directory, inspector, twin, photographs):
    """Chats at native resolution through transformers' processor: logits and greedy tokens are our Inspector's."""
    messages, inputs = chat(directory, photographs, inspector.config)
    with torch.no_grad():
        logits = twin(**inputs).logits[0].numpy()
    np.testing.assert_allclose(logits, inspector.logits(messages), rtol=1e-4, atol=1e-4)
    new = twin.generate(**inputs, max_new_tokens=40, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    answer = AutoTokenizer.from_pretrained(directory).decode(new, skip_special_tokens=True)
    assert answer == inspector.chat(messages, max_new=40) and len(new) > 5


def test_text_without_images_and_left_padded_batches(directory, inspector, twin, photographs):
    messages = [{"role": "user", "content": "Is it flawless? Where is the defect?"}]
    text = AutoTokenizer.from_pretrained(directory).apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    with torch.no_grad():
        logits = twin(input_ids=text).logits[0].numpy()
    np.testing.assert_allclose(logits, inspector.logits(messages), rtol=1e-4, atol=1e-4)

    chats = [chat(directory, photographs, inspector.config, words)[1] for words in ("Why?", "And is this one normal?")]
    longest = max(inputs["input_ids"].shape[1] for inputs in chats)

    def left(tensor):
        return torch.nn.functional.pad(tensor, (longest - tensor.shape[1], 0))

    together = twin.generate(
        input_ids=torch.cat([left(c["input_ids"]) for c in chats]),
        mm_token_type_ids=torch.cat([left(c["mm_token_type_ids"]) for c in chats]),
        attention_mask=torch.cat([left(torch.ones_like(c["input_ids"])) for c in chats]),
        pixel_values=torch.cat([c["pixel_values"] for c in chats]),
        image_grid_thw=torch.cat([c["image_grid_thw"] for c in chats]), max_new_tokens=16, do_sample=False,
        eos_token_id=None,
    )  # fmt: skip
    for row, inputs in zip(together, chats, strict=True):
        alone = twin.generate(**inputs, max_new_tokens=16, do_sample=False, eos_token_id=None)[0, -16:]
        assert row[longest:].tolist() == alone.tolist()


def test_aurocs_are_ours_to_four_decimals(inspector, twin):
    """Image and pixel AUROC over 24 queries with random labels and masks."""
    rng = np.random.default_rng(5)
    pictures = rng.integers(0, 256, (26, 6, 6, 3), dtype=np.uint8).repeat(14, axis=1).repeat(14, axis=2)
    references, queries = pictures[:2], pictures[2:]
    labels, masks = rng.permutation(24) % 2, rng.integers(0, 2, (24, SIDE, SIDE))
    aurocs = []
    for found in (
        inspector.inspect_many(queries, references, explain=False),
        twin.inspect_many(queries, references, explain=False),
    ):
        pixels = np.stack([result.pixel_map for result in found])
        aurocs.append(
            [roc_auc_score(labels, [result.score for result in found]), roc_auc_score(masks.ravel(), pixels.ravel())]
        )
    np.testing.assert_allclose(*aurocs, rtol=0, atol=5e-5)


def test_verify_compares_with_the_twin(directory):
    report = compare(load_model(directory), load_theirs(directory), [np.random.default_rng(i).integers(
        0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for i in range(3)])  # fmt: skip
    assert report.within_tolerance and report.note == ""
    assert 0 < report.values["score.max_abs"] <= 1e-5 and 0 < report.values["map.max_abs"] <= 1e-4
    assert report.values["features.max_abs"] <= 1e-4 and report.values["logits.top1"] == 1


def test_changed_code_beside_the_weights_is_not_run(directory, tmp_path):
    assert has_twin(directory)
    copy = tmp_path / "hf"
    copy.mkdir()
    for file in directory.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / FILES[0]).write_text("raise SystemExit\n")
    with pytest.raises(InputError, match=f"{FILES[0]} is not this version's PyTorch twin"):
        load_theirs(copy)


def test_stock_transformers_still_loads_the_weights(directory):
    model, info = stock(directory)
    ours = [GATES, PLACES] if json.loads((directory / "config.json").read_text())["iadgpt"]["places"] else [GATES]
    assert type(model) is Qwen2_5_VLForConditionalGeneration and info == {"unexpected_keys": ours}


def test_in_bfloat16_the_gates_stay_precise(directory, photographs):
    model = IADGPTForConditionalGeneration.from_pretrained(directory, dtype="bfloat16").eval()
    assert model.iadgpt["fusion"].gates.dtype == torch.float32 and model.lm_head.weight.dtype == torch.bfloat16
    full = IADGPTForConditionalGeneration.from_pretrained(directory).eval()
    low, high = (m.inspect(photographs[0], photographs[1:2], explain=False) for m in (model, full))
    assert abs(low.score - high.score) < 0.05  # bfloat16 through twelve layers


def test_saving_it_again_keeps_everything(directory, twin, tmp_path, photographs):
    twin.save_pretrained(tmp_path / "again")
    for name in ("tokenizer.json", *FILES):
        (tmp_path / "again" / name).write_bytes((directory / name).read_bytes())
    again = IADGPTForConditionalGeneration.from_pretrained(tmp_path / "again").eval()
    before, after = twin.state_dict(), again.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    # torch sums in another order where the same weights lie at other addresses: a few roundings of logits below 8.
    one, other = (m.inspect(photographs[0], photographs[1:2], explain=False) for m in (twin, again))
    assert abs(one.margin - other.margin) <= 8 * 8 * 2**-24
    np.testing.assert_allclose(one.map, other.map, rtol=1e-5)


def test_its_pixels_are_the_image_processors():
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 256, size, dtype=np.uint8) for size in ((56, 84, 3), (28, 28, 3))]
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    theirs = Qwen2VLImageProcessorPil(do_resize=False)(images=images, return_tensors="pt")
    pixels, grids = pixel_values(images, 14, 2)
    np.testing.assert_allclose(pixels.numpy(), theirs["pixel_values"].numpy(), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(grids, theirs["image_grid_thw"])


def test_only_trained_models_ship_it(tmp_path):
    config = small_config()
    tiny_tokenizer().save(tmp_path / "tokenizer")
    params = lively_params(config)
    params["vision"]["fusion"]["gates"] = np.zeros(3, np.float32)
    plain, placed = small_config(taps=False), small_config(places=True)
    untapped = params | {"vision": {k: v for k, v in params["vision"].items() if k != "fusion"}}
    cases = {
        "imported": (params, config, {}, {}, False),
        "trained": (params, config, {"stage": 1}, {}, True),
        "as stock": (params, config, {"stage": 1}, {"stock": True}, False),
        "aligned": (params, dataclasses.replace(config, positions="aligned"), {}, {}, True),
        "places": (params | {"places": {"kernel": lively_params(placed)["places"]["kernel"]}}, placed, {}, {}, True),
        "one layer": (params, dataclasses.replace(config, map_layers="last"), {"stage": 1}, {}, True),
        "without taps": (untapped, plain, {"stage": 1}, {}, False),
    }
    for name, (tree, model, info, flags, ships) in cases.items():
        export_hf(tree, model, tmp_path / "tokenizer", tmp_path / name, info=info, **flags)
        assert has_twin(tmp_path / name) == ships
        assert all((tmp_path / name / file).exists() == ships for file in FILES)
        told = "trust_remote_code" in (tmp_path / name / "README.md").read_text()
        assert told == ships
        if ships:  # with gates at 0 nothing is carried, and nothing is missing either
            twin, info = IADGPTForConditionalGeneration.from_pretrained(tmp_path / name, output_loading_info=True)
            assert not any(info.values())
            last = config.language.depth - 1
            assert list(twin.tapped)[-1] == last and len(twin.tapped) == (1 if name == "one layer" else 4)
            assert stock(tmp_path / name)[1] == ({"unexpected_keys": [PLACES]} if name == "places" else {})
    assert {path.name for path in SOURCE.glob("*.py")} == {*FILES, "__init__.py"}
