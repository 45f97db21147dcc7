"""A causal LM whose vocabulary holds every item: made on the spot, or any that Hugging Face can load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from torch.nn import functional
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from deeprec.data.catalog import Catalog
from deeprec.errors import PolicyError
from deeprec.next_item.vocabulary import ItemNames
from deeprec.policy.loading import PAD, load_causal_lm
from deeprec.policy.tokenizer import EOS
from deeprec.settings.rivals import ItemTokensConfig

HEADS = 2  # of the tiny model
_SETTING = "rivals.item_tokens.model"
_RESIDUAL = ("o_proj", "down_proj")  # what adds to the residual stream in Llama's family


class ItemModel:
    """A causal LM, its tokenizer, and the ids of the tokens that items are written with."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, names: ItemNames) -> None:
        """Raises PolicyError where the tokenizer lacks a token, or the model's logits are not plain."""
        self.model, self.tokenizer, self.names = model.eval(), tokenizer, names
        known = tokenizer.get_vocab()
        missing = [token for token in names.tokens() if token not in known]
        if missing:
            raise PolicyError(
                f"the tokenizer lacks {len(missing)} item tokens, such as {missing[0]!r}; fit again"
            )
        ids = [known[token] for token in names.tokens()]
        self.start = ids[0]
        sizes = [len(level) for level in names.texts]
        self.level_ids = tuple(torch.split(torch.tensor(ids[1:]), sizes))
        codes = torch.from_numpy(names.codes)
        # (n_items + 1, L); the row of padding is some item's and never read
        self.item_ids = torch.stack([ids[codes[:, level]] for level, ids in enumerate(self.level_ids)], dim=1)
        _check_head(model, self.start)

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return torch.device(self.model.get_output_embeddings().weight.device)

    def to(self, device: str) -> ItemModel:
        """Move the model."""
        self.model.to(device)
        return self

    def prefix(self, history: Sequence[int]) -> list[int]:
        """What is read of a history: the start, then the items' tokens."""
        return [self.start, *self.item_ids[list(history)].flatten().tolist()]

    def states(self, tokens: Tensor) -> Tensor:
        """Hidden states (B, T, W) of token ids (B, T); state t has read tokens 0 .. t."""
        states: Tensor = self.model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
        return states

    def rows(self, level: int) -> Tensor:
        """Output vectors (K, W) of the codes of a level."""
        weight: Tensor = self.model.get_output_embeddings().weight
        return weight[self.level_ids[level].to(weight.device)]

    def log_probs(self, states: Tensor, level: int) -> Tensor:
        """Log-probabilities (..., K) of the codes of a level, given that one of them comes next."""
        return functional.log_softmax(states.float() @ self.rows(level).float().T, dim=-1)


def build_model(config: ItemTokensConfig, names: ItemNames, catalog: Catalog, seed: int) -> ItemModel:
    """The model that the settings name, with all item tokens; the same seed gives the same weights.

    Raises PolicyError for one that can't be read, or sizes that don't divide.
    """
    if config.model == "tiny":
        tokenizer = _plain_tokenizer()
        tokenizer.add_tokens([AddedToken(token, normalized=False) for token in names.tokens()])
        return ItemModel(_tiny(config, tokenizer, names.levels, seed), tokenizer, names)
    model, tokenizer = load_causal_lm(config.model, "float32", _SETTING)
    _add_items(model, tokenizer, names, catalog, seed)
    longest = config.history * names.levels + names.levels
    room = getattr(model.config.get_text_config(), "max_position_embeddings", None) or longest
    if longest > room:
        raise PolicyError(
            f"{config.model}: reads {room} tokens, and {config.history} items take {longest}; lower "
            f"rivals.item_tokens.{'history' if names.levels == 1 else 'code_history'}"
        )
    return ItemModel(model, tokenizer, names)


def load_model(folder: str, names: ItemNames) -> ItemModel:
    """A model that was saved with its item tokens; raises PolicyError if it can't be read."""
    model, tokenizer = load_causal_lm(folder, "float32", _SETTING)
    return ItemModel(model, tokenizer, names)


@contextmanager
def dropout(model: PreTrainedModel, rate: float) -> Iterator[None]:
    """Within the block, drop a share of the embeddings and of what each layer adds, in training mode.

    Models of Llama's family have no such dropout of their own; on a few hundred thousand
    interactions they overfit without. Other families keep what they have, besides that on the embeddings.
    """

    def drop(module: torch.nn.Module, inputs: object, output: Tensor) -> Tensor:
        return functional.dropout(output, rate, module.training)

    places = [model.get_input_embeddings()]
    places += [module for name, module in model.named_modules() if name.rsplit(".", 1)[-1] in _RESIDUAL]
    hooks = [place.register_forward_hook(drop) for place in places] if rate else []
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _plain_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that knows padding and the end of text, and nothing else yet."""
    inner = Tokenizer(WordLevel({PAD: 0, EOS: 1}, unk_token=PAD))
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=PAD, eos_token=EOS, clean_up_tokenization_spaces=False
    )


def _tiny(
    config: ItemTokensConfig, tokenizer: PreTrainedTokenizerBase, levels: int, seed: int
) -> LlamaForCausalLM:
    if config.width % HEADS or (config.width // HEADS) % 2:
        raise PolicyError(
            f"rivals.item_tokens.width = {config.width} over {HEADS} heads must give an even width a head"
        )
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.width,
        intermediate_size=2 * config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=(config.history + 1) * levels,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        # The usual 0.02 suits widths of thousands; here tied logits start with a deviation near 0.5.
        initializer_range=0.5 * config.width**-0.5,
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(shape)


@torch.no_grad()
def _add_items(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, names: ItemNames, catalog: Catalog, seed: int
) -> None:
    """Add all item tokens. A title starts at the mean of its pieces, a code somewhere among the model's own."""
    labels = [item.label for item in catalog.items] if names.levels == 1 else []
    pieces = tokenizer(labels, add_special_tokens=False)["input_ids"] if labels else []
    known = len(tokenizer)
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in names.tokens()])
    ids = [int(tokenizer.convert_tokens_to_ids(token)) for token in names.tokens()]
    if max(ids) >= model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(max(ids) + 1, mean_resizing=False)
    generator = torch.Generator().manual_seed(seed)
    done: set[int] = set()
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        table = layer.weight
        if table.data_ptr() in done:  # tied weights are one tensor
            continue
        done.add(table.data_ptr())
        old = table[:known]
        table[ids] = old.mean(dim=0) + old.std(dim=0) * torch.randn(
            len(ids), old.shape[1], generator=generator
        )
        for place, found in zip(ids[1:], pieces, strict=False):
            table[place] = old[found].mean(dim=0) if found else table[place]


@torch.no_grad()
def _check_head(model: PreTrainedModel, token: int) -> None:
    """Raise PolicyError for a model that scales, caps or shifts its logits: we compute them ourselves."""
    probe = torch.tensor([[token]], device=model.get_output_embeddings().weight.device)
    plain = model.base_model(input_ids=probe).last_hidden_state @ model.get_output_embeddings().weight.T
    if not torch.allclose(model(input_ids=probe).logits, plain, rtol=1e-3, atol=1e-3):
        raise PolicyError(
            f"{type(model).__name__}: its logits are not the plain product of states and output embeddings; "
            f"name a model of another family in {_SETTING}, such as Qwen2 or Llama"
        )
