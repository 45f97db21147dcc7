"""Training the preference branch: how much a text tells about the next item.

The encoder stays as it is; the branch learns on its states what to add. A training question is
a position of a fit history and one to three phrases. With probability 1 - noise they are about
the next item: its categories, decade, year, pieces of its title. Else they are about another
one, half the time of the same user (as a guess from the history would be), half the time
anybody's. A share of the questions has no history at all. The best order multiplies the plain
odds of an item by (1 - noise) P(phrases | item) + noise P(phrases | user): a preference can only
speak as loud as it is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deeprec.config import TRMConfig
from deeprec.errors import TrainingError
from deeprec.progress import progress_bar
from deeprec.trm.bank import PhraseBank
from deeprec.trm.model import PreferenceNetwork
from deeprec.trm.softmax import fast_dtype, softmax_backward
from deeprec.trm.windows import Window, cut_batches, cut_windows, pad_right

if TYPE_CHECKING:
    from deeprec.trm.item_texts import ItemTexts

_QUESTIONS_PER_STEP = 1024
LEARNING_RATE = 6e-3  # at the beginning; it falls to zero
NOISE_SHARE = 0.4  # of the questions, those about another item: half the same user's, half anybody's
TEXT_ONLY_SHARE = 0.1  # of the questions, those without a history
_BASIS_PULL = 1e-2  # weight decay of what training adds to the basis: unseen phrases live by the basis


class BranchTrainer:
    """Frozen encoder, branch, optimizer, and everything that a step draws from."""

    def __init__(
        self,
        network: PreferenceNetwork,
        texts: ItemTexts,
        seen: NDArray[np.bool_],
        bank: PhraseBank,
        config: TRMConfig,
        rng: np.random.Generator,
    ) -> None:
        self.network = network
        self.branch = network.branch
        self.device = network.encoder.start.device
        self.dtype = fast_dtype(self.device) if config.precision == "auto" else torch.float32
        self.bank = bank
        self.bank_vectors = torch.from_numpy(bank.vectors).to(self.device)
        self.features = torch.from_numpy(texts.features).to(self.device)
        self.config = config
        self.rng = rng
        with torch.no_grad():
            keep = torch.from_numpy(seen).to(self.device, torch.float32)
            self.table = network.encoder.item_table(torch.from_numpy(texts.whole).to(self.device), keep)
        pulled = [value for name, value in self.branch.named_parameters() if name.endswith("_map")]
        free = [value for name, value in self.branch.named_parameters() if not name.endswith("_map")]
        groups = [{"params": pulled, "weight_decay": _BASIS_PULL}, {"params": free, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE)

    def step(self, windows: Tensor, share: float) -> float:
        """One optimizer step on questions from these windows (B, L + 1); the mean loss.

        `share` is the step's place in the training, 0 to 1: the learning rate falls to zero.
        """
        with torch.no_grad(), torch.autocast(self.device.type, self.dtype, enabled=self._fast):
            states = self.network.encoder.states(self.table, windows[:, :-1]).float()
        row, place = windows.nonzero(as_tuple=True)
        picked = torch.from_numpy(self.rng.permutation(len(row))[:_QUESTIONS_PER_STEP]).to(self.device)
        targets = windows[row, place]
        asked = self._phrases(row.cpu().numpy(), targets.cpu().numpy(), picked.cpu().numpy())
        # State 0 is that of an empty history: a newcomer's preference has to work without one.
        alone = torch.from_numpy(self.rng.random(len(picked)) < TEXT_ONLY_SHARE).to(self.device)
        place = torch.where(alone, 0, place[picked])
        queries = self.network.queries(states[row[picked], place], self.bank_vectors[asked.to(self.device)])
        items = self.network.items(self.table, self.features)[1:]
        for group in self.optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - share)
        self.optimizer.zero_grad(set_to_none=True)
        losses = softmax_backward(queries, items, targets[picked] - 1, self.dtype)
        torch.nn.utils.clip_grad_norm_(self.branch.parameters(), 1.0)
        self.optimizer.step()
        return float(losses.mean())

    @property
    def _fast(self) -> bool:
        return self.dtype != torch.float32

    def _phrases(
        self, row: NDArray[np.int64], targets: NDArray[np.int64], picked: NDArray[np.int64]
    ) -> Tensor:
        """Phrases (M, P) that the picked targets' questions say; `row` (N,) is ascending."""
        anybody = self.rng.integers(0, len(targets), len(picked))
        sizes = np.bincount(row)
        starts = np.cumsum(sizes) - sizes
        owner = row[picked]
        # Half of the wrong ones are near misses: a guess from the history is wrong in that way.
        same_user = starts[owner] + (self.rng.random(len(picked)) * sizes[owner]).astype(np.int64)
        other = np.where(self.rng.random(len(picked)) < 0.5, same_user, anybody)
        noise = self.rng.random(len(picked)) < NOISE_SHARE
        about = targets[np.where(noise, other, picked)]
        return torch.from_numpy(self.bank.sample(about, self.rng))


def fit_branch(
    network: PreferenceNetwork,
    texts: ItemTexts,
    seen: NDArray[np.bool_],
    bank: PhraseBank,
    histories: Sequence[Window],
    config: TRMConfig,
    rng: np.random.Generator,
) -> float:
    """Train `network.branch` for `config.preference_steps`; the mean loss of the last tenth.

    Raises TrainingError when the loss is lost.
    """
    trainer = BranchTrainer(network, texts, seen, bank, config, rng)
    network.branch.start_from(trainer.features[1:])
    network.train()  # dropout makes the states as uncertain as those of unseen histories
    losses: list[float] = []
    steps = config.preference_steps if len(bank.texts) > 1 else 0
    with progress_bar("fit preferences", max(1, steps)) as bar:
        while len(losses) < steps:
            windows = cut_windows(histories, config.history + 1, rng)
            for batch in cut_batches(windows, config.tokens_per_batch, rng):
                losses.append(trainer.step(pad_right(batch, trainer.device), len(losses) / steps))
                if not np.isfinite(losses[-1]):
                    raise TrainingError(
                        f"the preference branch's loss became {losses[-1]}; leave it untrained with "
                        "trm.preference_steps = 0, and look at the text encoder (trm.text_encoder)"
                    )
                bar.advance(1, f"loss {losses[-1]:.3f}")
                if len(losses) == steps:
                    break
    network.eval()
    return float(np.mean(losses[-max(1, steps // 10) :])) if losses else 0.0
