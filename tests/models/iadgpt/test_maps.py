"""Anomaly maps: the few recomputed rows are rows of full attention, computed here in numpy with loops over everything.

The numpy decoder is an independent second implementation in float64, written from the architecture's description; it
also shows that the scanned, grouped decoder is a plain stack of layers.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from iadgpt_jax.data.detection_prompt import AnswerTokens
from iadgpt_jax.data.encode import Encoder
from iadgpt_jax.data.pack import RowShape, pack
from iadgpt_jax.data.tasks.instance import Detection
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.infer.score_rows import make_score_rows
from iadgpt_jax.models.iadgpt.model import IADGPT
from tests.small_iadgpt import BUDGET, QUICK, draw_image, inspection, lively_params, small_config

CONFIG = small_config(language={"depth": 8}, positions="qwen")  # groups of a plain and a tapped layer
ENCODER = Encoder(CONFIG, tiny_tokenizer())
MODEL = IADGPT(CONFIG)
PARAMS = lively_params(CONFIG, 1)
SHAPE = RowShape(slots=320, images=10, patches=BUDGET, maps=6, keyword_rows=8, targets=96, mask_side=16)
TOLERANCE = 5e-5  # float32 against float64 through 8 layers; tests/invariants/test_packing.py derives one rounding


def naive_decoder(params, x, positions, visible):
    """float64 [S, E], int[3, S], bool[S, S] -> (final hidden [S, E], logits and probabilities [4 taps, H, S, S])."""
    c = CONFIG.language
    slots, half = len(x), c.head_width // 2

    def norm(x, scale):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + c.eps) * scale

    def turn(vector, slot):
        axes = [0] * c.mrope_section[0] + [1] * c.mrope_section[1] + [2] * c.mrope_section[2]
        out = vector.copy()
        for j in range(half):
            angle = positions[axes[j], slot] / c.rope_theta ** (2 * j / c.head_width)
            a, b = vector[j], vector[j + half]
            out[j], out[j + half] = a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)
        return out

    layers = []
    for group in range(c.groups):
        groups = params["language"]["groups"]
        for inner in range(c.depth // c.groups - 1):
            layers.append((False, jax.tree.map(lambda p, g=group, i=inner: np.float64(p[g, i]), groups["plain"])))
        layers.append((True, jax.tree.map(lambda p, g=group: np.float64(p[g]), groups["tapped"])))
    taps = []
    for tapped, p in layers:
        y = norm(x, p["norm1"]["scale"])
        q, k, v = (np.einsum("se,ehd->shd", y, p["attention"][n]["kernel"]) + p["attention"][n]["bias"] for n in "qkv")
        q = np.stack([[turn(head, slot) for head in q[slot]] for slot in range(slots)])
        k = np.stack([[turn(head, slot) for head in k[slot]] for slot in range(slots)])
        logits, weights, mixed = (np.zeros((c.heads, slots, n)) for n in (slots, slots, c.head_width))
        for head in range(c.heads):
            kv = head // (c.heads // c.kv_heads)
            logits[head] = q[:, head] @ k[:, kv].T / np.sqrt(c.head_width)
            shown = np.where(visible, logits[head], -np.inf)
            grown = np.exp(shown - shown.max(-1, keepdims=True))
            weights[head] = grown / grown.sum(-1, keepdims=True)
            mixed[head] = weights[head] @ v[:, kv]
        x = x + np.einsum("hsd,hde->se", mixed, p["attention"]["out"]["kernel"])
        y = norm(x, p["norm2"]["scale"])
        gate = y @ p["mlp"]["gate"]["kernel"]
        x = x + (gate / (1 + np.exp(-gate)) * (y @ p["mlp"]["up"]["kernel"])) @ p["mlp"]["down"]["kernel"]
        if tapped:
            taps.append((logits, weights))
    return norm(x, np.float64(params["language"]["norm"]["scale"])), taps


def naive_visibility(encodeds, packed):
    """bool[S, S] of the only row: causal; one's own block, and of the shared part what the block sees."""
    visible = np.eye(SHAPE.slots, dtype=bool)
    for encoded, (_, _, starts) in zip(encodeds, packed.where, strict=True):
        shared_at = starts[0] - len(encoded.shared)  # a flat row lays blocks right behind the shared part
        for slot in range(shared_at, starts[0]):
            visible[slot, shared_at : slot + 1] = True
        for block, start in zip(encoded.blocks, starts, strict=True):
            for slot in range(start, start + len(block.segment)):
                visible[slot, start : slot + 1] = True
                visible[slot, shared_at : shared_at + block.limit] = True
    return visible


@pytest.fixture(scope="module")
def run():
    """Two instances in one row: our outputs, and the naive decoder's on the same embeddings."""
    encodeds = [ENCODER(inspection(0, shots=(1, 2), words=False)), ENCODER(inspection(1, shots=(1,), references=1))]
    packed = pack(encodeds, 1, SHAPE, CONFIG.vision)
    embed = jax.jit(lambda p, rows: MODEL.apply({"params": p}, rows, method=IADGPT.embed), compiler_options=QUICK)
    x, positions = embed(PARAMS, packed.rows)
    outputs = jax.jit(lambda p, rows: MODEL.apply({"params": p}, rows), compiler_options=QUICK)(PARAMS, packed.rows)
    naive = naive_decoder(PARAMS, np.float64(x[0]), np.asarray(positions)[:, 0], naive_visibility(encodeds, packed))
    return encodeds, packed, outputs, naive


def test_scanned_groups_are_a_stack_of_layers(run):
    _, packed, outputs, (hidden, _) = run
    used = packed.rows.segment[0] > 0
    np.testing.assert_allclose(outputs.hidden[0][used], hidden[used], rtol=TOLERANCE, atol=TOLERANCE)


def keyword_slots(block, words):
    """For each word, the offsets of its tokens in the block's question; the tiny tokenizer has each whole."""
    texts = [tiny_tokenizer().decode([token]).strip().lower() for token in block.segment.tokens]
    return [[at for at, text in enumerate(texts) if text == word] for word in words]


@pytest.fixture(scope="module")
def of_the_last_layer(run):
    """Our outputs where maps are read from the last tapped layer alone."""
    model = IADGPT(dataclasses.replace(CONFIG, map_layers="last"))
    return jax.jit(lambda p, rows: model.apply({"params": p}, rows), compiler_options=QUICK)(PARAMS, run[1].rows)


@pytest.mark.parametrize("kind", ["logit", "probability"])
@pytest.mark.parametrize("layers", ["all", "last"])
def test_maps_are_rows_of_full_attention(run, of_the_last_layer, kind, layers):
    """Mean over sub-tokens, then words, heads and layers, of the attention from keyword to query-image slots."""
    encodeds, packed, outputs, (_, taps) = run
    if layers == "last":
        outputs, taps = of_the_last_layer, taps[-1:]
    ours = outputs.logit_maps if kind == "logit" else outputs.probability_maps
    checked = 0
    for encoded, (_, maps, starts) in zip(encodeds, packed.where, strict=True):
        for block, query, start in zip(encoded.blocks, maps, starts, strict=True):
            if query < 0:
                continue
            image = [start + at for at, slot in enumerate(block.segment.image) if slot >= 0]
            for channel, words in enumerate((("defect", "anomaly", "abnormal"), ("normal", "flawless"))):
                per_layer = []
                for logits, weights in taps:
                    full = logits if kind == "logit" else weights
                    per_word = [
                        np.mean([full[:, start + at][:, image].mean(axis=0) for at in slots], axis=0)
                        for slots in keyword_slots(block, words)
                    ]
                    per_layer.append(np.mean(per_word, axis=0))
                expected = np.mean(per_layer, axis=0)
                assert expected.std() > 1e-3 * np.abs(expected).mean()
                np.testing.assert_allclose(ours[0, query, channel], expected, rtol=10 * TOLERANCE, atol=TOLERANCE)
                checked += 1
    assert checked == 6


def test_the_margin_is_the_log_odds_of_the_anomalous_answer(run):
    """Of "No" against "Yes" at the slot that predicts the first answer token (eq. 4)."""
    encodeds, packed, outputs, (hidden, _) = run
    tokenizer = tiny_tokenizer()
    (yes,), (no,) = tokenizer.encode("Yes"), tokenizer.encode("No")
    score = jax.jit(make_score_rows(MODEL, None, AnswerTokens(normal=yes, anomalous=no)), compiler_options=QUICK)
    margins, maps = score(PARAMS, packed.rows)
    table = np.float64(PARAMS["language"]["embedding"])
    for encoded, (_, queries, starts) in zip(encodeds, packed.where, strict=True):
        for block, query, start in zip(encoded.blocks, queries, starts, strict=True):
            if not block.scored:
                continue
            before_answer = start + len(block.segment) - 2  # the answer is one token; its end is not laid down
            assert block.segment.tokens[-1] in (yes, no)
            log_odds = (table[no] - table[yes]) @ hidden[before_answer]
            np.testing.assert_allclose(margins[0, query], log_odds, rtol=10 * TOLERANCE, atol=40 * TOLERANCE)
            np.testing.assert_allclose(maps[0, query], outputs.probability_maps[0, query, 0], rtol=TOLERANCE)


def test_smaller_images_and_unused_map_queries_stay_finite():
    """An image below the budget at the end of a row reads past the row; an unused query reads unseen slots. Neither may
    bring NaN or infinity into a batch's loss, whatever the size of the attention logits."""
    instance = inspection(5, shots=(1,), references=1, words=False)
    small = draw_image(np.random.default_rng(5), 1, 2)
    block = dataclasses.replace(instance.blocks[0], images=(small,), detection=Detection(False))
    encoded = ENCODER(dataclasses.replace(instance, blocks=(block,)))
    packed = pack([encoded], 1, dataclasses.replace(SHAPE, slots=encoded.slots), CONFIG.vision)
    large = jax.tree.map(np.copy, PARAMS)
    for part in ("plain", "tapped"):
        for name in "qk":
            large["language"]["groups"][part]["attention"][name]["kernel"] *= 20  # logits of several hundreds
    outputs = jax.jit(lambda p, rows: MODEL.apply({"params": p}, rows), compiler_options=QUICK)(large, packed.rows)
    assert np.abs(outputs.logit_maps).max() > 100
    assert np.isfinite(outputs.probability_maps).all()
    assert np.asarray(outputs.probability_maps).max() <= 1
