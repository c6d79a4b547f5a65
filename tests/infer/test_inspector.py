"""The public API on a small random model: inspections, questions, chats, and both kinds of checkpoint."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from iadgpt_jax import Inspector
from iadgpt_jax.checkpoint.load import LoadedModel, load_model
from iadgpt_jax.checkpoint.workdir import save_model
from iadgpt_jax.convert.hf_export import export_hf
from iadgpt_jax.data.images import resize_square
from iadgpt_jax.data.pack import pack
from iadgpt_jax.data.tasks import prompts
from iadgpt_jax.data.tasks.instance import Block, Detection, Instance
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.errors import InputError
from iadgpt_jax.infer.buckets import bucket, bucketed_row_shape
from iadgpt_jax.infer.inspector import Asked
from iadgpt_jax.sharding import make_mesh
from tests.small_iadgpt import lively_params, small_config, small_encoder

SIDE = 84  # three merged tokens: a full window and partial ones
INFO = {"image_side": SIDE, "map_space": "probability", "config": {"dtype": "float32"}}
CLOSE = dict(rtol=2e-5, atol=2e-6)  # float32 rounding between rows of different lengths

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.fixture(scope="module")
def loaded():
    return LoadedModel(lively_params(small_config()), small_config(), tiny_tokenizer(), INFO, 0)


@pytest.fixture(scope="module")
def inspector(loaded):
    return Inspector(loaded)


@pytest.fixture(scope="module")
def photographs():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (3, 4, 3), dtype=np.uint8).repeat(30, axis=0).repeat(25, axis=1) for _ in range(12)]


def plainly(inspector, query, references, ratio=1.0):
    """(score, map) by the plain forward of one instance whose row fits exactly, read off by hand."""
    model, params = inspector.model, inspector.params
    squares = [resize_square(p, SIDE) for p in (query, *references)]
    block = Block(images=(squares[0],), sees=len(references), detection=Detection())
    encoded = small_encoder()(Instance("inspect", (block,), tuple(squares[1:]), ratio))
    rows = pack([encoded], 1, bucketed_row_shape([encoded], model.config.vision), model.config.vision).rows
    outputs = jax.jit(model.apply)({"params": params}, rows)  # operation by operation it compiles for longer
    last = len(encoded.shared) + len(encoded.blocks[0].segment) - 1
    logits = np.asarray(model.apply({"params": params}, outputs.hidden[0, last], method=type(model).logits))
    yes, no = (tiny_tokenizer().encode(word)[0] for word in ("Yes", "No"))
    odds = np.exp(logits[no] - logits[yes])
    grid = encoded.images[-1].grid
    return odds / (1 + odds), np.asarray(outputs.probability_maps)[0, 0, 0, : grid[0] * grid[1]].reshape(grid)


@pytest.mark.parametrize("references", [0, pytest.param(1, marks=pytest.mark.nightly), 3])
def test_an_inspection_is_the_plain_forward_of_the_trained_prompt(inspector, photographs, references):
    result = inspector.inspect(photographs[0], photographs[1 : 1 + references], explain=False)
    score, map_ = plainly(inspector, photographs[0], photographs[1 : 1 + references])
    np.testing.assert_allclose(result.score, score, **CLOSE)
    np.testing.assert_allclose(result.map, map_, **CLOSE)
    assert result.map.shape == (3, 3) and result.map.dtype == np.float32
    assert result.answer == ("No" if score > 0.5 else "Yes") and result.explanation == ""
    assert result.pixel_map.shape == photographs[0].shape[:2] == result.size


def test_many_queries_give_what_each_gives_alone(inspector, photographs):
    """Nine queries are two rows; references are shared inside a row, by verdicts, maps and explanations."""
    references = photographs[:2]
    together = inspector.inspect_many(photographs[2:11], references)
    for query, result in [(photographs[i], together[i - 2]) for i in (2, 10)]:
        alone = inspector.inspect(query, references)
        np.testing.assert_allclose(result.score, alone.score, **CLOSE)
        np.testing.assert_allclose(result.map, alone.map, **CLOSE)
        assert result.explanation == alone.explanation != ""


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [pytest.param((1, 1, 2), marks=pytest.mark.nightly), (1, 2, 2)], ids=str)
def test_laid_over_a_mesh_it_inspects_and_answers_the_same(inspector, photographs, tmp_path, sizes):
    """Loaded onto the mesh from a file; scores, maps, explanations, answers and a stream."""
    save_model(tmp_path, inspector.params, inspector.config, inspector.tokenizer, INFO)
    mesh = make_mesh(*sizes, jax.devices()[: int(np.prod(sizes))])
    spread = Inspector.load(tmp_path, mesh=mesh)
    assert not spread.params["language"]["groups"]["tapped"]["mlp"]["up"]["kernel"].is_fully_replicated
    results = [one.inspect_many(photographs[:3], photographs[3:5]) for one in (spread, inspector)]
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours.score, theirs.score, **CLOSE)
        np.testing.assert_allclose(ours.map, theirs.map, **CLOSE)
        assert (ours.answer, ours.explanation) == (theirs.answer, theirs.explanation)
    asked = "What is wrong?", photographs[0], photographs[1:2]
    assert spread.ask(*asked, max_new=8) == inspector.ask(*asked, max_new=8)
    chat = [{"role": "user", "content": [{"type": "image", "image": photographs[0]}, {"type": "text", "text": "Why?"}]}]
    assert "".join(spread.stream(chat, max_new=8)) == inspector.chat(chat, max_new=8)


def test_references_are_read_once_as_long_as_they_are_among_the_last_few(loaded, photographs, monkeypatch):
    inspector, read = Inspector(loaded), []
    prefill = inspector._scorer.prefill
    monkeypatch.setattr(inspector._scorer, "prefill", lambda *args: read.append(len(read)) or prefill(*args))

    def score(*references: int) -> float:
        return inspector.inspect(photographs[0], [photographs[i].copy() for i in references], explain=False).score

    first = score(1)
    assert score(1) == first and read == [0], "equal pixels are equal references"
    others = [score(i) for i in (2, 3, 4)]
    assert len({first, *others}) == 4 and score(1) == first and len(read) == 4
    assert score(5) not in others and len(read) == 5, "the fifth set pushes out the one that waited longest"
    assert score(1) == first and len(read) == 5 and score(2) == others[0] and len(read) == 6


def test_an_explanation_is_the_answer_to_the_trained_question(inspector, photographs):
    result = inspector.inspect(photographs[3], photographs[:2])
    assert result.explanation == inspector.ask(prompts.REASON, photographs[3], photographs[:2])


def test_compression_is_that_of_the_encoder(loaded, photographs):
    inspector = Inspector(loaded, ratio=0.4)
    result = inspector.inspect(photographs[0], photographs[1:4], explain=False)
    score, map_ = plainly(inspector, photographs[0], photographs[1:4], ratio=0.4)
    np.testing.assert_allclose(result.score, score, **CLOSE)
    np.testing.assert_allclose(result.map, map_, **CLOSE)


def test_other_settings_are_those_of_an_inspector_made_with_them(loaded, inspector, photographs):
    other = inspector.under(ratio=0.4, side=56)
    fresh = Inspector(loaded, ratio=0.4, side=56)
    for references in (photographs[1:4], photographs[4:7]):
        ours, theirs = (i.inspect(photographs[0], references, explain=False) for i in (other, fresh))
        assert ours.score == theirs.score and ours.map.shape == (2, 2)
    assert (inspector.ratio, inspector.side) == (1.0, SIDE)
    with pytest.raises(InputError, match="multiple of 28"):
        inspector.under(ratio=1.0, side=50)


def test_a_streamed_answer_about_a_query_is_that_of_ask(inspector, photographs):
    asked = Asked("What is wrong?", photographs[0], photographs[1:3])
    stream, pieces = inspector.stream(asked, max_new=12), []
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as end:
            said = end.value
            break
    assert [said] == inspector.answer_many([asked], max_new=12) and "".join(pieces) == said.text


def test_maps_are_read_in_the_form_they_were_trained_in(loaded, inspector, photographs):
    logit = Inspector(dataclasses.replace(loaded, info=INFO | {"map_space": "logit"}))
    one, other = (i.inspect(photographs[0], photographs[1:2], explain=False) for i in (inspector, logit))
    assert one.score == other.score and not np.allclose(one.map, other.map)
    assert (other.map > 0).all() and (other.map < 1).all()


def test_weights_cast_once_compute_what_weights_cast_at_every_use_do(loaded, inspector, photographs):
    low = Inspector(loaded, dtype="bfloat16")
    result = low.inspect(photographs[0], photographs[1:2], explain=False)
    uncast = Inspector(loaded, dtype="bfloat16")
    uncast._scorer.params = loaded.params
    assert uncast.inspect(photographs[0], photographs[1:2], explain=False).score == result.score
    full = inspector.inspect(photographs[0], photographs[1:2], explain=False)
    assert 0 < abs(result.score - full.score) < 0.05  # bfloat16 through twelve layers


def test_paths_pillow_images_and_arrays_are_the_same_photograph(inspector, photographs, tmp_path):
    Image.fromarray(photographs[0]).save(tmp_path / "query.png")
    Image.fromarray(photographs[1]).save(tmp_path / "good.png")
    ways = [
        (photographs[0], [photographs[1]]),
        (tmp_path / "query.png", [str(tmp_path / "good.png")]),
        (Image.open(tmp_path / "query.png"), tmp_path / "good.png"),  # one reference needs no list
    ]
    results = [inspector.inspect(query, references, explain=False) for query, references in ways]
    assert results[0].score == results[1].score == results[2].score


def test_history_is_part_of_the_question(inspector, photographs):
    pairs = [("What is wrong with the last image?", "There is a scratch."), ("Where?", "At the top.")]
    messages = [
        {"role": role, "content": text}
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    short = dict(max_new=12)
    answer = inspector.ask("Why?", photographs[0], photographs[1:2], pairs, **short)
    assert answer == inspector.ask("Why?", photographs[0], photographs[1:2], messages, **short)
    assert answer != inspector.ask("Why?", photographs[0], photographs[1:2], **short)
    with pytest.raises(InputError, match="without an answer"):
        inspector.ask("Why?", photographs[0], history=messages[:1])


def test_every_kind_of_checkpoint_gives_the_same_model(loaded, inspector, photographs, tmp_path):
    save_model(tmp_path / "work", loaded.params, loaded.config, loaded.tokenizer, INFO)
    export_hf(loaded.params, loaded.config, tmp_path / "work" / "tokenizer", tmp_path / "hf", info=INFO)
    result = inspector.inspect(photographs[0], photographs[1:2], explain=False)
    for path in (tmp_path / "work", tmp_path / "work" / "checkpoints" / "0", tmp_path / "hf"):
        again = Inspector.load(path)
        assert (again.side, again.info["map_space"]) == (SIDE, "probability")
        other = again.inspect(photographs[0], photographs[1:2], explain=False)
        assert other.score == result.score
        np.testing.assert_array_equal(other.map, result.map)


def test_checkpoints_that_are_none_or_damaged_say_so(loaded, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_model(tmp_path / "nothing")
    with pytest.raises(InputError, match="neither model.json nor config.json"):
        load_model(tmp_path)
    save_model(tmp_path / "work", loaded.params, loaded.config, loaded.tokenizer, {"map_space": "none"})
    info = load_model(tmp_path / "work").info
    assert info == {"image_side": 448, "map_space": "probability"}
    with pytest.raises(InputError, match="does not exist"):
        load_model(tmp_path / "work" / "checkpoints" / "7")
    for path in (tmp_path / "work" / "checkpoints" / "0" / "params").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(InputError, match="step 0 of .* cannot be read"):
        load_model(tmp_path / "work")


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (dict(ratio=0.0), "ratio"), (dict(ratio=1.2), "ratio"), (dict(side=50), "multiple of 28"),
        (dict(dtype="float17"), "choose one of float32"), (dict(dtype="int8"), "'int8'"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(loaded, wrong, match):
    with pytest.raises(InputError, match=match):
        Inspector(loaded, **wrong)


def test_what_is_no_photograph_is_refused_by_what_it_is(inspector, photographs):
    for wrong, match in [(photographs[0] / 255, "float64"), (photographs[0][..., :2], r"\[90, 100, 2\]"), (3, "int")]:
        with pytest.raises(InputError, match=match):
            inspector.inspect(wrong)


def test_sizes_are_rounded_up_by_at_most_a_half():
    assert [bucket(n) for n in (1, 2, 3, 4, 5, 7, 9)] == [1, 2, 3, 4, 6, 8, 12]
    assert [bucket(n, 64) for n in (1, 65, 97, 129)] == [64, 96, 128, 192]
    assert all(n <= bucket(n) <= 1.5 * n for n in range(1, 500))
