"""The preference-aware sequential network (paper section 3, preference-aware TRM).

A sequential encoder ranks items for a history; beside it, a preference branch adds what a
text says about an item. Both end in one inner product, so that one index serves both:

    item     [e_v ; B f_v]
    query    [h ; sum over phrases of gate(h, phrase) * A t_phrase]

e_v is the item's vector, h the state after the history, t_phrase the text vector of a phrase,
f_v the summed text vectors of the item's own phrases. Without a preference the second half
of the query is zero: the plain ranking, exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

HEADS = 2  # of attention (published)
INNER = 4  # widths of the feed-forward layer (published)
MATCH_WIDTH = 64  # of the space where preferences meet item texts


class Adaptor(nn.Module):
    """A mixture of linear experts from text space to item space (UniSRec's adaptor).

    Nowhere a bias: the zero vector, which stands for no text, stays exactly zero.
    """

    def __init__(self, text_dim: int, width: int, experts: int) -> None:
        super().__init__()
        self.experts = nn.Parameter(torch.randn(experts, text_dim, width) * text_dim**-0.5)
        self.router = nn.Linear(text_dim, experts, bias=False) if experts > 1 else None

    def forward(self, text: Tensor) -> Tensor:
        """(N, D) -> (N, W)."""
        mapped: Tensor
        if self.router is None:
            mapped = text @ self.experts[0]
            return mapped
        weights = self.router(text).softmax(-1)  # (N, E)
        count, dim, width = self.experts.shape
        each = text @ self.experts.permute(1, 0, 2).reshape(dim, count * width)
        mapped = (each.view(-1, count, width) * weights.unsqueeze(-1)).sum(1)
        return mapped


class Block(nn.Module):
    """One causal transformer layer, normalised before each part."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_inner = nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor) -> Tensor:
        """(B, T, W) -> (B, T, W); position t sees positions up to t."""
        batch, length, width = states.shape
        qkv = self.qkv(self.norm_attention(states)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, W / heads)
        if states.device.type == "cpu":  # torch's bfloat16 attention is several times slower there
            with torch.autocast("cpu", enabled=False):
                seen = functional.scaled_dot_product_attention(
                    query.float(), key.float(), value.float(), is_causal=True
                )
        else:
            seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        states = states + self.dropout(self.out(seen.transpose(1, 2).reshape(batch, length, width)))
        updated: Tensor = states + self.dropout(self.inner(self.norm_inner(states)))
        return updated


class SequentialEncoder(nn.Module):
    """Items and histories to vectors whose inner product ranks.

    item vector  e_v = id(v) + adaptor(text(v))
    user state   h = LayerNorm(blocks([start, items of the history])) at the last position

    The state of `start` alone stands for an empty history.
    """

    def __init__(
        self,
        *,
        n_items: int,
        text_dim: int,
        width: int,
        layers: int,
        heads: int,
        inner: int,
        experts: int,
        dropout: float,
        history: int,
    ) -> None:
        super().__init__()
        self.history = history
        self.ids = nn.Embedding(n_items + 1, width, padding_idx=0)
        self.positions = nn.Embedding(history + 1, width)
        self.start = nn.Parameter(torch.randn(width) * 0.05)
        self.text_adaptor = Adaptor(text_dim, width, experts)
        self.input_dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, inner, dropout) for _ in range(layers))
        self.state_norm = nn.LayerNorm(width)
        nn.init.normal_(self.ids.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.05)
        with torch.no_grad():
            self.ids.weight[0] = 0

    def item_table(self, text: Tensor, keep_id: Tensor) -> Tensor:
        """Item vectors (I + 1, W), row 0 zero.

        `text` is (I + 1, D). `keep_id` (I + 1,) is 0 for items that must do with their text:
        those that training never met, and in training a random few, so that text alone is
        worth something.
        """
        table: Tensor = self.ids.weight * keep_id.unsqueeze(-1) + self.text_adaptor(text)
        return table

    def states(self, table: Tensor, histories: Tensor) -> Tensor:
        """User states (B, L + 1, W): after nothing, after the first item, ... after all.

        `histories` (B, L) is padded with 0 on the right, which no earlier position sees.
        """
        items = functional.embedding(histories, table)
        start = self.start.expand(len(histories), 1, -1)
        # As in "Attention is all you need": else positions would drown the small item vectors.
        states = torch.cat([start, items], dim=1) * self.start.shape[0] ** 0.5
        states = states + self.positions.weight[: states.shape[1]]
        states = self.input_dropout(states)
        for block in self.blocks:
            states = block(states)
        normed: Tensor = self.state_norm(states)
        return normed


class PreferenceBranch(nn.Module):
    """What a preference adds to the score of an item, by text alone.

    Both maps start as the same projection `basis` (D, M), so that before any training their
    inner product is that of the texts; training learns what is added to it. `gate` says how
    loud a phrase may speak for this user: a phrase that fits everything the user does tells
    little about the next item.
    """

    basis: Tensor

    def __init__(self, text_dim: int, width: int, match_width: int, inner: int = 64) -> None:
        super().__init__()
        self.register_buffer("basis", torch.eye(text_dim, match_width))
        self.phrase_map = nn.Parameter(torch.zeros(text_dim, match_width))
        self.item_map = nn.Parameter(torch.zeros(text_dim, match_width))
        self.gate = nn.Sequential(
            nn.Linear(width + 2 * match_width, inner), nn.GELU(), nn.Linear(inner, 1), nn.Softplus()
        )

    @torch.no_grad()
    def start_from(self, features: Tensor) -> None:
        """Take the main directions of the items' summed phrases (I, D) as the basis.

        The inner product of two of them survives as well as M directions allow.
        """
        rows = features.double()
        directions = torch.linalg.svd(rows.T @ rows).U[:, : self.basis.shape[1]]
        self.basis.copy_(directions)

    def items(self, features: Tensor) -> Tensor:
        """Summed phrase vectors of the items (I, D) -> (I, M)."""
        return features @ (self.basis + self.item_map)

    def wanted(self, states: Tensor, phrases: Tensor) -> Tensor:
        """User states (N, W) and phrases (N, P, D), zero rows where there are fewer -> (N, M)."""
        mapped = phrases @ (self.basis + self.phrase_map)  # (N, P, M)
        # The gate sees the mean of all phrases beside each, so that it can tell one that stands alone from one of many.
        count = phrases.any(dim=-1).sum(dim=1).clamp(min=1)[:, None, None]
        together = (mapped.sum(dim=1, keepdim=True) / count).expand_as(mapped)
        seen = torch.cat([states.unsqueeze(1).expand(-1, phrases.shape[1], -1), mapped, together], dim=-1)
        added: Tensor = (self.gate(seen) * mapped).sum(dim=1)
        return added


class PreferenceNetwork(nn.Module):
    """Encoder and preference branch; see the module's text."""

    def __init__(
        self,
        *,
        n_items: int,
        text_dim: int,
        width: int,
        layers: int,
        inner: int,
        experts: int,
        dropout: float,
        history: int,
    ) -> None:
        super().__init__()
        self.encoder = SequentialEncoder(
            n_items=n_items,
            text_dim=text_dim,
            width=width,
            layers=layers,
            heads=HEADS,
            inner=inner,
            experts=experts,
            dropout=dropout,
            history=history,
        )
        self.branch = PreferenceBranch(text_dim, width, min(MATCH_WIDTH, text_dim))

    def items(self, table: Tensor, features: Tensor) -> Tensor:
        """What is searched (I + 1, W + M), row 0 zero.

        `table` is the encoder's, `features` (I + 1, D) the items' summed phrase vectors.
        """
        return torch.cat([table, self.branch.items(features)], dim=-1)

    def queries(self, states: Tensor, phrases: Tensor | None = None) -> Tensor:
        """Queries (N, W + M) from states (N, W); `phrases` (N, P, D), none: the second half is zero."""
        if phrases is None:
            return functional.pad(states, (0, self.branch.basis.shape[1]))
        return torch.cat([states, self.branch.wanted(states, phrases)], dim=-1)
