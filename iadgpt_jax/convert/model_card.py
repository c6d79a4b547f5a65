"""The README.md of an exported checkpoint: what it is, what it was trained on, how to run it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from iadgpt_jax.models.protocols import ModelConfig

CARD = """\
---
library_name: transformers
pipeline_tag: image-text-to-text
tags:
- anomaly-detection
- qwen2_5_vl
---

# IADGPT ({name})

A Qwen2.5-VL that inspects products from a few good examples (IADGPT, arXiv 2508.10681), exported by iadgpt_jax.

{trained_on}

| | |
|---|---|
| ViT | {vision.depth} blocks of width {vision.width}, windows of {vision.window} pixels, full attention at {full} |
| decoder | {language.depth} layers of width {language.width}, {language.heads} heads, {language.kv_heads} of keys |
| vocabulary | {language.vocab} |
| image positions | {positions} |

{torch}
## In iadgpt_jax

```python
from iadgpt_jax import Inspector

result = Inspector.load(".").inspect("query.png", references=["good.png"])
print(result.score, result.answer)
```
"""

TWIN = """\
## In PyTorch

With torch and transformers alone; the code beside these weights (`modeling_iadgpt.py`) is loaded with them:

```python
from transformers import AutoModelForImageTextToText

model = AutoModelForImageTextToText.from_pretrained(".", dtype="auto", trust_remote_code=True).to("cuda")
result = model.inspect("query.png", references=["good.png"])
print(result.score, result.answer, result.explanation)  # result.map: float32[h, w], result.pixel_map: at full size
```

Many queries of one category: `model.inspect_many(queries, references)` reads the references once. `ratio=0.2` keeps a
fifth of the tokens of every reference but the first.

Without `trust_remote_code`: {stock}.
"""

STOCK = """\
## In transformers

```python
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

model = Qwen2_5_VLForConditionalGeneration.from_pretrained(".", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(".")
```

{stock}.
"""


def model_card(config: ModelConfig, unlike: str, info: Mapping, twin: bool) -> str:
    """unlike: what stock transformers will not reproduce, "" if nothing; info: of training, from model.json; twin:
    whether the PyTorch twin lies beside the weights."""
    if twin:
        torch = TWIN.format(stock=unlike or "stock transformers computes this model, but has no `inspect`")
    elif unlike:
        torch = STOCK.format(stock=unlike[:1].upper() + unlike[1:])
    else:
        torch = STOCK.format(stock="Stock transformers computes exactly this model")
    return CARD.format(
        name=config.name,
        vision=config.vision,
        language=config.language,
        full=", ".join(map(str, config.vision.full_blocks)),
        positions=config.positions,
        trained_on=_training(info),
        torch=torch,
    )


def _training(info: Mapping) -> str:
    """One paragraph on the training, from what the trainer recorded."""
    if not info.get("stage"):
        origin = info.get("imported_from")
        return f"Imported from {origin}." if origin else "Its training was not recorded."
    settings = info.get("config", {})
    source, start = settings.get("source"), settings.get("init_from")
    parts = [f"Trained through stage {info['stage']}"]
    if source:
        parts.append(f"on {source if source == 'procedural' else 'the images of ' + PurePath(source).name}")
    if "image_side" in info:
        parts.append(f"at {info['image_side']}×{info['image_side']} pixels")
    if "steps" in settings:
        parts.append(f"({settings['steps']} steps in this stage)")
    if start:
        parts.append(f"starting from {PurePath(start).name}")
    return " ".join(parts) + "."
