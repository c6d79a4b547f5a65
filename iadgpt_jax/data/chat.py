"""Qwen's chat format: the special tokens, the template as published checkpoints carry it, and its pieces for encoding.

`encode` joins the pieces itself, because it must know where every image and keyword lands; a test holds the result
equal to the rendered template.
"""

from __future__ import annotations

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|vision_pad|>", "<|video_pad|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>",
    "<|quad_start|>", "<|quad_end|>",
)  # fmt: skip

SYSTEM = "You are a helpful assistant."
IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"

CHAT_TEMPLATE = """\
{%- macro part(item) -%}
{%- if item is string -%}{{ item }}
{%- elif item.type == 'image' or 'image' in item or 'image_url' in item -%}<|vision_start|><|image_pad|><|vision_end|>
{%- elif item.type == 'video' or 'video' in item -%}<|vision_start|><|video_pad|><|vision_end|>
{%- elif 'text' in item -%}{{ item.text }}
{%- endif -%}
{%- endmacro -%}
{%- if messages[0].role != 'system' -%}
{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif -%}
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' }}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}{%- for item in message.content -%}{{ part(item) }}{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""


def opening(role: str) -> str:
    return f"<|im_start|>{role}\n"


CLOSING = "<|im_end|>\n"
HEADER = opening("system") + SYSTEM + CLOSING + opening("user")
TO_ANSWER = CLOSING + opening("assistant")
