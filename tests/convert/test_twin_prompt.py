"""The PyTorch twin asks the detection prompt that its weights were trained with, whichever that is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from iadgpt_jax.checkpoint.load import load_model
from iadgpt_jax.convert.hf_export import export_hf
from iadgpt_jax.convert.torch_twin.modeling_iadgpt import IADGPTForConditionalGeneration
from iadgpt_jax.data.detection_prompt import DEFECTS
from iadgpt_jax.data.tiny_tokenizer import tiny_tokenizer
from iadgpt_jax.infer.inspector import Inspector
from tests.small_iadgpt import draw_image, lively_params, small_config

pytestmark = [pytest.mark.usefixtures("quick_compilation"), pytest.mark.filterwarnings("ignore")]


def test_a_model_trained_with_another_prompt_is_inspected_with_it_on_both_sides(tmp_path):
    """Margins, verdicts and maps of the VisA-D&R prompt, where Yes means anomalous, through config.json alone."""
    rng = np.random.default_rng(0)
    query, reference = draw_image(rng), draw_image(rng)
    info = {"stage": 3, "image_side": len(query), "detection_prompt": DEFECTS.to_dict()}
    tiny_tokenizer().save(tmp_path / "tokenizer")
    export_hf(lively_params(small_config()), small_config(), tmp_path / "tokenizer", tmp_path / "hf", info=info)
    told = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert told["iadgpt"]["training"]["detection_prompt"] == DEFECTS.to_dict()
    ours = Inspector(load_model(tmp_path / "hf"))
    assert ours.prompt == DEFECTS
    one = ours.inspect(query, [reference], explain=False)
    twin = IADGPTForConditionalGeneration.from_pretrained(tmp_path / "hf").eval()
    other = twin.inspect(query, [reference], explain=False)
    np.testing.assert_allclose(other.margin, one.margin, rtol=0, atol=4e-5)  # 1e-5 of a probability
    np.testing.assert_allclose(other.map, one.map, rtol=1e-4, atol=1e-6)
    assert (other.answer, other.defective) == (one.answer, one.defective)
    assert one.defective == (one.answer == "Yes") and other.score == pytest.approx(one.score, abs=1e-5)
