"""The residual-quantised autoencoder of TIGER (arXiv 2305.05065, section 3.1).

An encoder maps vectors into a small space, where each level's codebook takes the nearest code
off what the levels before left; a decoder makes the vector again from the sum of the codes.
Codebooks start at k-means of the first residuals, as in the paper, against codes that nobody uses.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from deeprec.rivals.item_tokens.kmeans import Quantised, residual_kmeans

# The paper's sizes (hidden 512, 256, 128; latent 32), loss weight (0.25) and batch (1,024).
_HIDDEN, _LATENT, _COMMITMENT, _BATCH = (512, 256, 128), 32, 0.25, 1024
# Not the paper's: it takes Adagrad at 0.4 for 20,000 epochs, which would take hours here.
_LEARNING_RATE = 1e-3
STEPS = 1500  # optimizer steps


class RQVAE(nn.Module):
    """Encoder, L codebooks (K, 32), decoder."""

    def __init__(self, width: int, levels: int, size: int) -> None:
        super().__init__()
        sizes = (width, *_HIDDEN, _LATENT)
        self.encoder = _perceptron(sizes)
        self.decoder = _perceptron(sizes[::-1])
        self.codebooks = nn.ParameterList(nn.Parameter(torch.zeros(size, _LATENT)) for _ in range(levels))

    def quantise(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes (N, L), the sum of their vectors (N, 32), and the codebook and commitment loss."""
        left, total, loss, codes = latent, torch.zeros_like(latent), latent.new_zeros(()), []
        for codebook in self.codebooks:
            code = torch.cdist(left.detach(), codebook.detach()).argmin(dim=1)
            chosen = codebook[code]
            loss = loss + _distance(chosen, left.detach())
            loss = loss + _COMMITMENT * _distance(left, chosen.detach())
            left, total = left - chosen.detach(), total + chosen
            codes.append(code)
        return torch.stack(codes, dim=1), total, loss

    def loss(self, vectors: Tensor) -> Tensor:
        """Reconstruction plus quantisation; gradients pass the codes straight through."""
        latent = self.encoder(vectors)
        _, quantised, loss = self.quantise(latent)
        made = self.decoder(latent + (quantised - latent).detach())
        return _distance(made, vectors) + loss


def fit_rqvae(vectors: NDArray[np.float32], levels: int, size: int, seed: int) -> Quantised:
    """Train on the vectors (N, D); codes, codebooks and errors are those of the small space."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        data = torch.from_numpy(vectors)
        model = RQVAE(vectors.shape[1], levels, size)
        start = residual_kmeans(model.encoder(data).detach().numpy(), levels, size, seed)
        for codebook, values in zip(model.codebooks, start.codebooks, strict=True):
            codebook.data[: len(values)] = torch.from_numpy(values)
        optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE)
        for step in range(STEPS):
            if step % max(1, len(data) // _BATCH) == 0:
                order = torch.randperm(len(data))
            at = step % max(1, len(data) // _BATCH) * _BATCH
            optimizer.zero_grad()
            torch.autograd.backward(model.loss(data[order[at : at + _BATCH]]))
            optimizer.step()
        return _quantised(model, data)


@torch.no_grad()
def _quantised(model: RQVAE, data: Tensor) -> Quantised:
    left = model.encoder(data)
    codes = model.quantise(left)[0]
    errors = [_length(left)]
    for codebook, column in zip(model.codebooks, codes.T, strict=True):
        left = left - codebook[column]
        errors.append(_length(left))
    books = tuple(codebook.detach().numpy().copy() for codebook in model.codebooks)
    return Quantised(codes.numpy(), books, tuple(errors))


def _length(left: Tensor) -> float:
    return float(left.square().sum(dim=1).mean())


def _distance(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance of rows (N, D)."""
    return (first - second).square().sum(dim=1).mean()


def _perceptron(sizes: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
