"""Fitting the TRM: next-item cross-entropy over the whole catalogue, with and without preferences.

Every position is trained plain. A share of the positions is trained a second time with a
preference, drawn so that the network learns how much a preference tells: one or two true
phrases of the target, or phrases of another item (noise: half the time one of the same
user's, as a guess from the history would be, else anybody's), or true phrases with the history
dropped. With noise share e, the best answer to a phrase multiplies the plain odds by
(1 - e) P(phrase | item) + e P(phrase): a preference can only speak as loud as it is right.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deeprec.config import TRMConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import TrainingError
from deeprec.metrics import ndcg, recall
from deeprec.progress import progress_bar
from deeprec.trm.bank import PhraseBank, build_bank
from deeprec.trm.model import PreferenceNetwork
from deeprec.trm.ranking import target_ranks
from deeprec.trm.retriever import TRM, build_network, catalog_text_vectors, pad_right
from deeprec.trm.text import CachedEncoder
from deeprec.types import Example

_LOGITS_PER_CHUNK = 1_000_000  # floats of one block of the softmax: 4 MB, which stays in the cache
_WARMUP_STEPS = 30

Log = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Validation:
    """Held-out quality of one epoch; ranks are over the whole catalogue."""

    ndcg: float
    recall: float
    median_rank: float
    ndcg_true_phrase: float
    median_rank_true_phrase: float


def fit(
    dataset: Dataset,
    encoder: CachedEncoder,
    config: TRMConfig,
    *,
    seed: int = 0,
    log: Log | None = None,
    device: str | None = None,
) -> TRM:
    """Train on `dataset.fit_histories()`, stop early on validation NDCG@10, return the best epoch.

    Nothing of the rl, validation and test parts is trained on; the validation part decides
    when to stop. Raises TrainingError when there is nothing to train on, or the loss is lost.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    histories = [example.history for example in dataset.fit_histories()]
    if not any(len(history) > 1 for history in histories):
        raise TrainingError(f"data set '{dataset.name}': no user has two interactions in the fit part")
    catalog = dataset.catalog
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        text = catalog_text_vectors(encoder, catalog)
        bank = build_bank(catalog, encoder, config.preference_instruction, rng)
        seen = np.zeros(catalog.n_items + 1, dtype=np.bool_)
        seen[np.unique(np.concatenate([np.asarray(history) for history in histories]))] = True
        network = build_network(config, catalog.n_items, encoder.dim).to(device)
        trainer = _Trainer(network, torch.from_numpy(text).to(device), seen, bank, config, rng)
        examples = _validation_examples(dataset, config.validation_users, seed)
        phrases = bank.sample_texts([example.target for example in examples], np.random.default_rng(seed))

        def validate() -> Validation:
            return measure(TRM(network, encoder, catalog, config, seen, text), dataset, examples, phrases)

        network.load_state_dict(_run_epochs(trainer, histories, validate if examples else None, log))
    return TRM(network, encoder, catalog, config, seen, text)


def measure(trm: TRM, dataset: Dataset, examples: list[Example], phrases: list[str]) -> Validation:
    """Quality on `examples`, plain and with one true preference each."""
    plain = target_ranks(trm, examples, dataset=dataset)
    steered = target_ranks(trm, examples, phrases, dataset=dataset)
    return Validation(
        ndcg=float(ndcg(plain, 10).mean()),
        recall=float(recall(plain, 10).mean()),
        median_rank=float(np.median(plain)),
        ndcg_true_phrase=float(ndcg(steered, 10).mean()),
        median_rank_true_phrase=float(np.median(steered)),
    )


class _Trainer:
    """Network, optimizer and everything that a step draws from."""

    def __init__(
        self,
        network: PreferenceNetwork,
        text: Tensor,
        seen: NDArray[np.bool_],
        bank: PhraseBank,
        config: TRMConfig,
        rng: np.random.Generator,
    ) -> None:
        self.network = network
        self.text = text
        self.device = text.device
        self.seen = torch.from_numpy(seen).to(self.device, torch.float32)
        self.bank = bank
        self.bank_vectors = torch.from_numpy(bank.vectors).to(self.device)
        self.config = config
        self.rng = rng
        decay = [p for name, p in network.named_parameters() if p.ndim > 1 and "ids" not in name]
        rest = [p for name, p in network.named_parameters() if p.ndim <= 1 or "ids" in name]
        groups = [
            {"params": decay, "weight_decay": config.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))
        self.steps = 0
        with torch.no_grad():  # ids of items that the fit never meets stay at zero: no gradient, no decay
            network.ids.weight.mul_(self.seen.unsqueeze(-1))

    def epoch(self, histories: list[tuple[int, ...]], advance: Callable[[], None]) -> float:
        """One pass over freshly cut windows; the mean plain loss."""
        self.network.train()
        windows = cut_windows(histories, self.config.history + 1, self.rng)
        order = self.rng.permutation(len(windows))
        size = self.config.users_per_batch
        losses, weights = [], []
        for start in range(0, len(order), size):
            batch = [windows[row] for row in order[start : start + size]]
            loss, count = self.step(pad_right(batch, self.device))
            losses.append(loss)
            weights.append(count)
            advance()
        return float(np.average(losses, weights=weights))

    def step(self, windows: Tensor) -> tuple[float, int]:
        """One optimizer step on windows (B, L + 1); plain loss and number of targets."""
        keep = self.seen * (torch.rand_like(self.seen) >= self.config.id_dropout)
        table = self.network.item_table(self.text, keep)
        states = self.network.states(table, windows[:, :-1])  # (B, L + 1, W); state t has seen t items
        row, place = torch.nonzero(windows, as_tuple=True)  # targets: every real item
        targets = windows[row, place]
        queries, wanted = self._queries(states, row, states[row, place], targets)
        items = functional.normalize(table[1:], dim=-1)
        self.optimizer.zero_grad(set_to_none=True)
        plain = softmax_backward(queries, items, wanted - 1, self.config.temperature, len(targets))
        if not np.isfinite(plain):
            raise TrainingError(
                f"the TRM's loss became {plain}; lower trm.learning_rate (now {self.config.learning_rate})"
            )
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._warm_up()
        self.optimizer.step()
        return plain, len(targets)

    def _warm_up(self) -> None:
        self.steps += 1
        share = min(1.0, self.steps / _WARMUP_STEPS)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * share

    def _subjects(
        self, row: NDArray[np.int64], targets: NDArray[np.int64], picked: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The items (M,) that the picked targets' preferences are about; `row` (N,) is ascending."""
        anybody = self.rng.integers(0, len(targets), len(picked))
        sizes = np.bincount(row)
        starts = np.cumsum(sizes) - sizes
        owner = row[picked]
        same_user = starts[owner] + (self.rng.random(len(picked)) * sizes[owner]).astype(np.int64)
        other = np.where(self.rng.random(len(picked)) < 0.5, same_user, anybody)
        noise = self.rng.random(len(picked)) < self.config.preference_noise
        return targets[np.where(noise, other, picked)]

    def _queries(self, states: Tensor, row: Tensor, plain: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """All queries of a step (N + M, W), plain ones first, and the items that they want."""
        total = len(targets)
        count = round(self.config.preference_share * total)
        if count == 0:
            return self.network.query(plain), targets
        picked = torch.from_numpy(self.rng.permutation(total)[:count]).to(self.device)
        about = self._subjects(row.cpu().numpy(), targets.cpu().numpy(), picked.cpu().numpy())
        phrases = self.bank_vectors[torch.from_numpy(self.bank.sample(about, self.rng)).to(self.device)]
        alone = torch.from_numpy(self.rng.random(count) < self.config.text_only_share).to(self.device)
        nothing = states[torch.from_numpy(self.rng.integers(0, len(states), count)).to(self.device), 0]
        steered = torch.where(alone[:, None], nothing, plain[picked])
        queries = torch.cat([self.network.query(plain), self.network.query(steered, phrases)])
        return queries, torch.cat([targets, targets[picked]])


def softmax_backward(queries: Tensor, items: Tensor, wanted: Tensor, temperature: float, plain: int) -> float:
    """Back-propagate the mean cross-entropy over all items; return that of the first `plain` rows.

    `wanted` (N,) are rows of `items` (I, W). The gradient is written out, softmax minus
    one-hot: on a CPU that halves the time of autograd's, and the logits (N, I) are made in
    blocks, so that a large catalogue costs time, not memory.
    """
    with torch.no_grad():
        q = queries.detach() / temperature
        e = items.detach()
        q_grad, e_grad = torch.empty_like(q), torch.zeros_like(e)
        losses = torch.empty(len(q), dtype=q.dtype, device=q.device)
        step = max(1, _LOGITS_PER_CHUNK // len(e))
        for start in range(0, len(q), step):
            rows = slice(start, start + step)
            part = q[rows] @ e.T  # (n, I) logits, then their exponentials, in place
            top = part.amax(dim=1, keepdim=True)
            logit = part.gather(1, wanted[rows, None])
            total = part.sub_(top).exp_().sum(dim=1, keepdim=True)
            losses[rows] = (total.log() + top - logit)[:, 0]
            q_grad[rows] = (part @ e) / total - e[wanted[rows]]
            e_grad.addmm_(part.T, q[rows] / total)
        e_grad.index_add_(0, wanted, q, alpha=-1)
    torch.autograd.backward([queries, items], [q_grad / (temperature * len(q)), e_grad / len(q)])
    return float(losses[:plain].mean())


def cut_windows(histories: list[tuple[int, ...]], length: int, rng: np.random.Generator) -> list[list[int]]:
    """Cut histories into windows of at most `length` items, at other places each time.

    Windows follow each other without overlap; the first one of a long history is cut short
    at random. Windows of one item train the state that knows nothing yet.
    """
    windows = []
    for history in histories:
        first = int(rng.integers(1, length + 1)) if len(history) > length else length
        bounds = [0, *range(first, len(history), length), len(history)]
        windows += [list(history[a:b]) for a, b in pairwise(bounds) if b > a]
    return windows


def _run_epochs(
    trainer: _Trainer,
    histories: list[tuple[int, ...]],
    validate: Callable[[], Validation] | None,
    log: Log | None,
) -> dict[str, Tensor]:
    """Epochs until validation NDCG@10 stops rising, the limit, or the time; the best weights."""
    config = trainer.config
    best, best_ndcg, waited, started = _weights(trainer.network), -1.0, 0, time.monotonic()
    with progress_bar("fit TRM", config.epochs) as bar:
        for epoch in range(1, config.epochs + 1):
            loss = trainer.epoch(histories, lambda: None)
            record: dict[str, Any] = {"stage": "trm", "epoch": epoch, "loss": round(loss, 5)}
            if validate is None:  # nothing to stop on: the last epoch counts
                best = _weights(trainer.network)
            else:
                found = validate()
                record.update({key: round(value, 5) for key, value in vars(found).items()})
                if found.ndcg > best_ndcg:
                    best, best_ndcg, waited = _weights(trainer.network), found.ndcg, 0
                else:
                    waited += 1
            record["seconds"] = round(time.monotonic() - started, 2)
            if log is not None:
                log(record)
            bar.advance(1, f"loss {loss:.3f}, validation NDCG@10 {max(best_ndcg, 0):.4f}")
            late = config.max_minutes is not None and record["seconds"] > 60 * config.max_minutes
            if waited >= config.patience or late:
                break
    return best


def _weights(network: PreferenceNetwork) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _validation_examples(dataset: Dataset, most: int, seed: int) -> list[Example]:
    examples = dataset.examples("validation")
    if len(examples) <= most:
        return examples
    picked = np.sort(np.random.default_rng(seed).choice(len(examples), most, replace=False))
    return [examples[row] for row in picked]
