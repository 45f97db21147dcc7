"""The preference-aware sequential network (paper section 3, preference-aware TRM)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


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
        answer: Tensor
        if self.router is None:
            answer = text @ self.experts[0]
            return answer
        weights = self.router(text).softmax(-1)  # (N, E)
        count, dim, width = self.experts.shape
        answers = text @ self.experts.permute(1, 0, 2).reshape(dim, count * width)
        answer = (answers.view(-1, count, width) * weights.unsqueeze(-1)).sum(1)
        return answer


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
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        states = states + self.dropout(self.out(seen.transpose(1, 2).reshape(batch, length, width)))
        answer: Tensor = states + self.dropout(self.inner(self.norm_inner(states)))
        return answer


class PreferenceNetwork(nn.Module):
    """Sequential encoder over items, conditioned on the text of a preference.

    item vector  e_v = id(v) + adaptor(text(v))
    user state   h = encoder([start, e_v1, ..., e_vn]) at the last position
    query        q = LayerNorm(h + gate(h, a) * a), a = preference_adaptor(text(p))
    score        cosine(q, e_v)

    Without a preference a is zero, hence q = LayerNorm(h), exactly the plain query. The
    state of `start` alone answers an empty history.
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
        self.preference_adaptor = Adaptor(text_dim, width, experts)
        self.input_dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, inner, dropout) for _ in range(layers))
        self.state_norm = nn.LayerNorm(width)
        self.gate = nn.Linear(2 * width, width)
        self.query_norm = nn.LayerNorm(width)
        for table in (self.ids, self.positions):
            nn.init.normal_(table.weight, std=0.05)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)
        with torch.no_grad():
            self.ids.weight[0] = 0

    def item_table(self, text: Tensor, keep_id: Tensor) -> Tensor:
        """Item vectors (I + 1, W), not normalised, row 0 zero.

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
        items = table[histories]
        start = self.start.expand(len(histories), 1, -1)
        length = histories.shape[1] + 1
        states = torch.cat([start, items], dim=1) + self.positions.weight[:length]
        states = self.input_dropout(states)
        for block in self.blocks:
            states = block(states)
        normed: Tensor = self.state_norm(states)
        return normed

    def query(self, states: Tensor, preferences: Tensor | None = None) -> Tensor:
        """Unit queries (N, W) from states (N, W) and the preferences' text vectors (N, D)."""
        if preferences is not None:
            wanted = self.preference_adaptor(preferences)
            gate = 2 * torch.sigmoid(self.gate(torch.cat([states, wanted], dim=-1)))
            states = states + gate * wanted
        return functional.normalize(self.query_norm(states), dim=-1)
