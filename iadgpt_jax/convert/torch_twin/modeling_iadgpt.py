"""IADGPT (arXiv 2508.10681) in PyTorch: Qwen2.5-VL with fused ViT layers, compressed references and anomaly maps.

    model = AutoModelForImageTextToText.from_pretrained(directory, trust_remote_code=True, dtype="auto").to("cuda")
    result = model.inspect("query.png", references=["good.png"])
    result.score, result.margin, result.defective, result.map, result.answer, result.explanation

`generate` and `forward` take what Qwen2.5-VL takes. Attention runs as transformers was told (SDPA, FlashAttention): the
few rows that maps are read from are computed beside it.
Suffixes: S prompt tokens, E width, N merged tokens of an image, G taps.
"""

from __future__ import annotations

import itertools

import torch
from torch import nn
from transformers import DynamicCache, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLModel
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping

from .maps_iadgpt import KeywordRows
from .photograph_iadgpt import Inspection, photograph, pixel_values, several, square
from .prompt_iadgpt import Prompt, Prompter, kept_tokens

GROUPS = 4  # taps per tower
EXPLANATION_TOKENS = 128


class Fusion(nn.Module):
    """h32 + Σ gate · RMS(h8, h16, h24) (paper, "adaptive weighted module"), hung onto a stock ViT by hooks.

    Hooks, because the ViT's own forward stays transformers': whatever it does with windows and kernels, the outputs of
    its full-attention blocks pass here, and what enters the merger leaves here.
    """

    def __init__(self, eps: float = 1e-6):
        super().__init__()
        self.gates = nn.Parameter(torch.zeros(GROUPS - 1, dtype=torch.float32))
        self.eps = eps
        self._taps: list[torch.Tensor] = []

    def attach(self, visual: nn.Module) -> None:
        *early, last = visual.fullatt_block_indexes
        if len(early) != GROUPS - 1 or last != len(visual.blocks) - 1:
            raise ValueError(f"fusion needs {GROUPS} full-attention blocks, the last one at the end of the ViT")
        for index in early:
            visual.blocks[index].register_forward_hook(self._keep)
        visual.merger.register_forward_pre_hook(self._fuse)

    def _keep(self, block, inputs, output) -> None:
        self._taps.append(output)

    def _fuse(self, merger, inputs):
        (hidden,), taps = inputs, torch.stack(self._taps).float()
        self._taps.clear()
        taps = taps * torch.rsqrt(taps.pow(2).mean(-1, keepdim=True) + self.eps)
        fused = torch.tensordot(self.gates.to(taps), taps, dims=1)
        return (hidden + fused.to(hidden.dtype),)


class Places(nn.Module):
    """A learned vector of where in its image it stands, added to every merged token: cosines along height and width, of
    all pairs of WAVES frequencies but the two constant ones. Hung onto a stock ViT by a hook."""

    WAVES = 4

    def __init__(self, width: int, merge: int):
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(self.WAVES**2 - 1, width))
        self.merge = merge

    def attach(self, visual: nn.Module) -> None:
        visual.register_forward_hook(self._add, with_kwargs=True)

    def _add(self, visual, inputs, named, output):
        grids = named["grid_thw"] if "grid_thw" in named else inputs[1]
        waves = torch.cat([self._waves(*grid) for grid in grids.tolist()]).to(self.kernel.device)
        places = waves @ self.kernel.float()
        output.pooler_output = output.pooler_output + places.to(output.pooler_output.dtype)
        return output

    def _waves(self, frames: int, high: int, wide: int) -> torch.Tensor:
        """float32[N, F] of one image's (or of all frames') merged tokens in raster order."""
        k = torch.pi * torch.arange(self.WAVES)
        down, along = (
            torch.cos((torch.arange(side // self.merge)[:, None] + 0.5) / (side // self.merge) * k)
            for side in (high, wide)
        )
        pairs = down[:, None, :, None] * along[None, :, None, :]
        return pairs.reshape(-1, self.WAVES**2)[:, 1:].repeat(frames, 1)


class IADGPTModel(Qwen2_5_VLModel):
    """Qwen2.5-VL's body; with `positions` "aligned" every image stands at the same height and width, and only time
    advances: text at (t, 0, 0), an image at (t, row, column), whatever follows it at t + 1."""

    def __init__(self, config):
        super().__init__(config)
        self.aligned = config.iadgpt["positions"] == "aligned"

    def get_rope_index(
        self, input_ids, mm_token_type_ids, image_grid_thw=None, video_grid_thw=None, second_per_grid_ts=None,
        attention_mask=None, **kwargs,
    ):  # fmt: skip
        """Positions int64[3, B, S] and, int64[B, 1], what to add to a token's index for the position after them."""
        if not self.aligned:
            return super().get_rope_index(
                input_ids, mm_token_type_ids, image_grid_thw, video_grid_thw, second_per_grid_ts, attention_mask,
                **kwargs,
            )  # fmt: skip
        if video_grid_thw is not None:
            raise ValueError("a model with aligned positions knows photographs, not videos")
        merge = self.config.vision_config.spatial_merge_size
        grids = iter(image_grid_thw if image_grid_thw is not None else ())
        positions = input_ids.new_zeros(3, *input_ids.shape)
        deltas = []
        for row, kinds in enumerate(mm_token_type_ids):
            valid = torch.ones_like(kinds) if attention_mask is None else attention_mask[row].to(kinds.device)
            kinds = kinds[valid.bool()]
            placed, time = [], 0
            for kind, run in itertools.groupby(kinds.tolist()):
                length = len(list(run))
                if kind == 0:
                    placed.append(torch.stack([torch.arange(time, time + length), *torch.zeros(2, length).long()]))
                    time += length
                    continue
                _, _, wide = (int(side) // merge for side in next(grids))
                token = torch.arange(length)
                placed.append(torch.stack([torch.full((length,), time), token // wide, token % wide]))
                time += 1
            positions[:, row, valid.bool()] = torch.cat(placed, dim=1).to(positions)
            deltas.append(time - len(kinds))
        return positions, torch.tensor(deltas, device=input_ids.device)[:, None]

    def forward(
        self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, inputs_embeds=None, **kwargs
    ):
        if self.aligned and input_ids is not None:
            position_ids = self._aligned(input_ids, attention_mask, position_ids, past_key_values, kwargs)
        return super().forward(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids,
            past_key_values=past_key_values, inputs_embeds=inputs_embeds, **kwargs,
        )  # fmt: skip

    def _aligned(self, input_ids, attention_mask, position_ids, past_key_values, kwargs) -> torch.Tensor:
        """Positions int64[3 or 4, B, S]; text stands at height and width 0 even where transformers counts on."""
        if position_ids is None:
            position_ids = self.compute_3d_position_ids(
                input_ids=input_ids, attention_mask=attention_mask, past_key_values=past_key_values,
                inputs_embeds=input_ids[..., None],
                **{name: kwargs.get(name) for name in ("image_grid_thw", "video_grid_thw", "mm_token_type_ids")},
            )  # fmt: skip
        if position_ids is None:  # text alone
            past = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = torch.arange(past, past + input_ids.shape[1], device=input_ids.device).expand(
                3, *input_ids.shape
            )
        text = (input_ids != self.config.image_token_id).to(position_ids.device)
        still = torch.where(text, 0, position_ids[-2:])
        return torch.cat([position_ids[:-2], still])


class IADGPTForConditionalGeneration(Qwen2_5_VLForConditionalGeneration):
    """The inspector. `config.iadgpt` holds what its weights were trained with."""

    _keep_in_fp32_modules_strict = ["iadgpt.fusion.gates"]

    def __init__(self, config):
        super(Qwen2_5_VLForConditionalGeneration, self).__init__(config)  # not its own body, but ours
        self.model = IADGPTModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.iadgpt = nn.ModuleDict()
        if config.iadgpt["fusion"]:  # the gates are not 0
            self.iadgpt["fusion"] = Fusion()
            self.iadgpt["fusion"].attach(self.model.visual)
        if config.iadgpt.get("places"):
            vision = config.vision_config
            self.iadgpt["places"] = Places(vision.out_hidden_size, vision.spatial_merge_size)
            self.iadgpt["places"].attach(self.model.visual)
        depth = config.text_config.num_hidden_layers
        tapped = range(depth // GROUPS - 1, depth, depth // GROUPS)
        self.tapped = tapped[-1:] if config.iadgpt.get("map_layers") == "last" else tapped  # maps are their mean
        self._prompter: Prompter | None = None
        self.post_init()

    @property
    def prompter(self) -> Prompter:
        """Prompts of this model; its tokenizer is read from the directory the weights came from, at first use."""
        if self._prompter is None:
            self._prompter = Prompter(self.config, self.name_or_path)
        return self._prompter

    # ---- Inspection ----

    def inspect(self, query, references=(), *, ratio: float = 1.0, explain: bool = True) -> Inspection:
        """Inspect one product against any number of good examples.

        Photographs are paths, Pillow images or uint8 arrays. ratio: share of tokens kept of every reference but the
        first (paper eq. 9). explain: also ask what is wrong.
        """
        return self.inspect_many([query], references, ratio=ratio, explain=explain)[0]

    @torch.inference_mode()
    def inspect_many(self, queries, references=(), *, ratio: float = 1.0, explain: bool = True) -> list[Inspection]:
        """Inspect products of one category; the references are read once, into a cache that all queries share."""
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio is {ratio}; choose a share of tokens above 0 and at most 1")
        start = self._references(references, ratio)
        cache = DynamicCache(config=self.config.text_config)
        self._read(start, cache)
        results = []
        for query in several(queries):
            picture = photograph(query)
            image = start.extended()
            image.place_image(self._features([picture])[0])
            margin, map_ = self._verdict(image, len(start), cache)
            cache.crop(len(start) - cache.get_seq_length())  # negative: so many tokens less
            words = self._answer(image, self.prompter.texts["reason"], EXPLANATION_TOKENS) if explain else ""
            answer = self.prompter.verdict(margin > 0)
            results.append(Inspection(margin, map_, answer, words, picture.shape[:2]))
        return results

    @torch.inference_mode()
    def ask(
        self, question: str, query, references=(), *, ratio: float = 1.0, max_new_tokens: int = EXPLANATION_TOKENS
    ) -> str:
        """Answer a question about the query, in words."""
        prompt = self._references(references, ratio)
        prompt.place_image(self._features([photograph(query)])[0])
        return self._answer(prompt, question, max_new_tokens)

    # ---- Between the two ----

    def _references(self, references, ratio: float) -> Prompt:
        """The prompt up to the query: header and references, compressed by `ratio`."""
        prompt = self.prompter.open(self.device)
        features = self._features([photograph(reference) for reference in several(references)])
        for index, image in enumerate(features):
            total = image.shape[0] * image.shape[1]
            keep = total if index == 0 else max(1, round(ratio * total))
            prompt.place_image(image, kept_tokens(image, features[0], keep))
        return prompt

    def _features(self, pictures) -> list[torch.Tensor]:
        """Merged tokens [high, wide, E] of photographs uint8[H, W, 3], squashed to the square of training."""
        if not pictures:
            return []
        vision = self.config.vision_config
        squares = [square(picture, self.prompter.side) for picture in pictures]
        pixels, grids = pixel_values(squares, vision.patch_size, vision.spatial_merge_size)
        merged = self.model.visual(
            pixels.to(self.device, self.model.visual.dtype), grid_thw=grids.to(self.device)
        ).pooler_output
        side = self.prompter.side // vision.patch_size // vision.spatial_merge_size
        return list(merged.reshape(len(pictures), side, side, -1))

    def _read(self, prompt: Prompt, cache: DynamicCache, begin: int = 0) -> torch.Tensor:
        """Run the prompt's tokens from `begin` on behind those in the cache: their hidden states [S, E]."""
        embeddings, positions = prompt.inputs(self.get_input_embeddings(), begin)
        out = self.model.language_model(
            inputs_embeds=embeddings, position_ids=positions, past_key_values=cache, use_cache=True
        )
        return out.last_hidden_state[0]

    def _verdict(self, image: Prompt, begin: int, cache: DynamicCache):
        """(margin, map float32[high, wide]) of the query whose image ends `image`; the cache holds what lies before."""
        prompt = image.extended()
        rows = prompt.add_detection(self.prompter)
        columns = prompt.last_image
        with KeywordRows(self.model.language_model, self.tapped, [row for row, _ in rows], columns) as read:
            hidden = self._read(prompt, cache, begin)[-1].float()
        normal, anomalous = (
            self.lm_head.weight[self.prompter.first_token(defective)].float() for defective in (False, True)
        )
        margin = hidden @ anomalous - hidden @ normal  # paper eq. 4, as log-odds
        weights = torch.tensor([weight for _, weight in rows], device=self.device)
        map_ = read.pooled(weights, self.prompter.map_space).reshape(prompt.last_grid)
        return float(margin), map_.cpu().numpy()

    def _answer(self, image: Prompt, question: str, max_new_tokens: int) -> str:
        """The greedy answer to a question behind an image."""
        prompt = image.extended()
        prompt.add_question(self.prompter, question)
        embeddings, positions = prompt.inputs(self.get_input_embeddings())
        tokens = self.generate(
            inputs_embeds=embeddings, position_ids=positions, do_sample=False, max_new_tokens=max_new_tokens,
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long, device=self.device),
        )  # fmt: skip
        return self.prompter.decode(tokens[0].tolist())

    def _init_weights(self, module) -> None:
        super()._init_weights(module)
        if isinstance(module, Fusion):
            nn.init.zeros_(module.gates)
        if isinstance(module, Places):
            nn.init.zeros_(module.kernel)


# The hub's names (visual.*, model.*) are those of the class this one extends; transformers looks them up by class name.
register_checkpoint_conversion_mapping(
    "IADGPTForConditionalGeneration",
    get_checkpoint_conversion_mapping("Qwen2_5_VLForConditionalGeneration"),
    overwrite=True,
)

__all__ = ["IADGPTForConditionalGeneration", "IADGPTModel"]
