"""The embedded policy: a small Qwen2 with random weights."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention

from deeprec.config import PolicyConfig
from deeprec.data.catalog import Catalog
from deeprec.errors import PolicyError

_RESIDUAL = ("o_proj.weight", "down_proj.weight")  # what writes into the residual stream
# Strength with which a head repeats what it looks at, before training. Measured on scripted
# trajectories (2 layers x 128): copying listed titles is learned clearly sooner (docs/log.md).
_COPY_GAIN = 2.0


def build_tiny(config: PolicyConfig, tokenizer: PreTrainedTokenizerBase, seed: int) -> Qwen2ForCausalLM:
    """A Qwen2 of the configured size over the tokenizer's whole vocabulary, embeddings tied.

    The same seed gives the same weights; the global random state is left alone. Raises
    PolicyError for sizes that don't divide.
    """
    shape = tiny_shape(config, len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id)
    with torch.random.fork_rng(devices=[]):
        model = Qwen2ForCausalLM(shape)
    _initialize(model, seed)
    return model.to(getattr(torch, config.dtype)).eval()


def tiny_shape(config: PolicyConfig, vocabulary: int, eos: int | None, pad: int | None) -> Qwen2Config:
    """The configured sizes over so many tokens, embeddings tied; raises PolicyError for sizes that don't divide."""
    if config.width % config.heads or (config.width // config.heads) % 2:
        raise PolicyError(
            f"policy.width = {config.width} over policy.heads = {config.heads} heads must give an even width a head"
        )
    if config.heads % config.key_value_heads:
        raise PolicyError(
            f"policy.heads = {config.heads} is not a multiple of policy.key_value_heads = {config.key_value_heads}"
        )
    return Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=config.width,
        intermediate_size=config.inner,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.key_value_heads,
        max_position_embeddings=config.context,
        tie_word_embeddings=True,
        use_sliding_window=False,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=pad,
        attn_implementation="sdpa",
    )


@torch.no_grad()
def _initialize(model: Qwen2ForCausalLM, seed: int) -> None:
    """Scale weights by their width.

    The usual 0.02 suits widths of thousands; at 128 it leaves the layers nearly silent.
    Projections into the residual stream shrink with depth, so that the stream doesn't grow.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = model.config.num_hidden_layers
    embedding = model.get_input_embeddings().weight
    # Half of width^-1/2: tied logits start with a deviation of 0.5, close to uniform.
    embedding.normal_(0.0, 0.5 * embedding.shape[1] ** -0.5, generator=generator)
    for name, weight in model.named_parameters():
        if weight is embedding or weight.dim() < 2:
            continue
        deviation = weight.shape[1] ** -0.5
        if name.endswith(_RESIDUAL):
            deviation /= (2 * layers) ** 0.5
        weight.normal_(0.0, deviation, generator=generator)
    for layer in model.model.layers:
        _favour_copying(layer.self_attn)


@torch.no_grad()
def _favour_copying(attention: Qwen2Attention) -> None:
    """Add to each head's output projection the transpose of its value projection.

    Embeddings are tied, so a head that passes on what it reads raises the logit of the
    token that it looks at: the one skill that a ranking of listed items rests on.
    """
    size = attention.head_dim
    for head in range(attention.o_proj.weight.shape[1] // size):
        shared = head // attention.num_key_value_groups
        value = attention.v_proj.weight[shared * size : (shared + 1) * size]
        attention.o_proj.weight[:, head * size : (head + 1) * size] += _COPY_GAIN * value.T


@torch.no_grad()
def start_titles(
    model: Qwen2ForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    catalog: Catalog,
    vectors: NDArray[np.float32] | None,
    seed: int,
) -> None:
    """Start the embedding of each title at the TRM's vector of its item.

    `vectors` (n_items + 1, D) of unit length are turned by a random rotation into the model's
    width, which keeps their inner products (as far as D is no more than the width), and
    scaled to the length of the other embeddings. Titles of several tokens, and items
    without a vector, keep their random ones. Raises PolicyError for a TRM without vectors.
    """
    if vectors is None:
        raise PolicyError("policy.title_vectors = true: this TRM has no item vectors; set it to false")
    table = model.get_input_embeddings().weight
    rng = np.random.default_rng((seed, 103))
    width = max(table.shape[1], vectors.shape[1])
    rotation = np.linalg.qr(rng.standard_normal((width, width)))[0][: vectors.shape[1], : table.shape[1]]
    turned = torch.from_numpy((vectors @ rotation).astype(np.float32)).to(table)
    turned *= table.norm(dim=1).mean()
    for item in catalog.items:
        ids = tokenizer.encode(item.label, add_special_tokens=False)
        if len(ids) == 1 and turned[item.item_index].any():
            table[ids[0]] = turned[item.item_index]
