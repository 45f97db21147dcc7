"""Fitting the TRM: the encoder first, then the preference branch on top of it.

The encoder learns the next item at every position, by cross-entropy over the whole catalogue.
What is kept is the running mean of the weights that ranks best on the validation part. The
branch (`steering.py`) is trained afterwards and leaves the encoder as it is: without a
preference the fitted TRM ranks as if there were no branch at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from deeprec.config import TRMConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import TrainingError
from deeprec.metrics import ndcg, recall
from deeprec.trm.bank import build_bank
from deeprec.trm.base import Preferences
from deeprec.trm.epochs import Log, Validation, run_epochs, running_mean
from deeprec.trm.item_texts import ItemTexts, catalog_texts
from deeprec.trm.model import SequentialEncoder
from deeprec.trm.periods import WEIGHTS, count_periods, month_phrase
from deeprec.trm.quality import draw_preferences
from deeprec.trm.ranking import catalogue_ranks
from deeprec.trm.resuming import EpochCheckpoint
from deeprec.trm.retriever import TRM, build_network
from deeprec.trm.softmax import fast_dtype, softmax_backward
from deeprec.trm.steering import fit_branch
from deeprec.trm.text import CachedEncoder
from deeprec.trm.windows import Window, cut_batches, cut_windows, pad_right
from deeprec.types import Example

_WARMUP_STEPS = 100  # at most; little data warms up within two epochs
AVERAGED = 0.999  # memory of the running mean of the weights, a step
WEIGHT_DECAY = 1e-4


@dataclass(frozen=True, kw_only=True)
class RankedValidation(Validation):
    """Besides, where the targets stand."""

    median_rank: float


def fit(
    dataset: Dataset,
    text_encoder: CachedEncoder,
    config: TRMConfig,
    *,
    seed: int = 0,
    log: Log | None = None,
    device: str | None = None,
    witness: Callable[[Sequence[Example]], None] | None = None,
    threads: Callable[[Callable[[], object]], AbstractContextManager[object]] | None = None,
    checkpoint: EpochCheckpoint | None = None,
) -> TRM:
    """Train on `dataset.fit_histories()`, stop early on validation NDCG@10, return the best epoch.

    Nothing of the rl, validation and test parts is trained on; the validation part decides
    when to stop. `witness` is told what is trained on; `threads` gets a step to measure with and says how many the
    epochs compute with (`deeprec.threads`); `checkpoint` is what an interrupted fit goes on from. Raises TrainingError
    when there is nothing to train on, or the loss is lost.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    histories = fit_histories(dataset)
    if witness is not None:
        witness(dataset.fit_histories())
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        texts = catalog_texts(text_encoder, dataset.catalog)
        seen = np.zeros(dataset.catalog.n_items + 1, dtype=np.bool_)
        seen[np.unique(np.concatenate(histories))] = True
        network = build_network(config, dataset.catalog.n_items, text_encoder.dim).to(place)
        examples = validation_examples(dataset, config.validation_users, seed)
        trainer = EncoderTrainer(network.encoder, texts, seen, config, rng)
        shown = deepcopy(network)  # what is validated is the running mean; training goes on from the weights

        def validate(weights: dict[str, Tensor]) -> Validation:
            shown.encoder.load_state_dict(weights)
            plain = TRM(shown, text_encoder, dataset.catalog, config, seen, texts)
            return measure(plain, dataset, examples)

        with threads(trainer.probe) if threads is not None else nullcontext():
            best = run_epochs(trainer, histories, validate if examples else None, log, "fit TRM", checkpoint)
        network.encoder.load_state_dict(best)
    trm = TRM(network, text_encoder, dataset.catalog, config, seen, texts)
    started = time.monotonic()
    loss = fit_preferences(trm, dataset, seed)
    fit_periods(trm, dataset, examples)
    if log is not None:
        record = {"stage": "trm", "preference_loss": round(loss, 5)}
        record["period_weight"] = trm.periods.weight if trm.periods else 0.0
        if examples:
            targets = [example.target for example in examples]
            phrases = draw_preferences(dataset, targets, np.random.default_rng(seed))
            record.update(measure(trm, dataset, examples, phrases).record("_true_phrase"))
        log({**record, "seconds": round(time.monotonic() - started, 2)})
    return trm


def fit_preferences(trm: TRM, dataset: Dataset, seed: int = 0, held_out: Collection[str] = ()) -> float:
    """Train the preference branch of `trm` anew, in place, on the fit part; the loss at its end.

    Phrases in `held_out` are never said in this training: to measure what an unseen one does.
    """
    rng = np.random.default_rng([seed, 1])
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed + 1)
        bank = build_bank(trm.catalog, trm.encoder, trm.config.preference_instruction, rng, held_out)
        loss = fit_branch(trm.network, trm.texts(), trm.seen, bank, fit_histories(dataset), trm.config, rng)
    trm.refresh()
    return loss


def fit_periods(trm: TRM, dataset: Dataset, examples: Sequence[Example]) -> None:
    """Let `trm` answer months, in place, as loudly as serves validation `examples` best; not at all if that harms."""
    dated = [example for example in examples if example.timestamps]
    counted = count_periods(dataset, trm.config.periods_per_year) if dated else None
    if counted is None:
        return
    months = [month_phrase(example.timestamps[-1]) for example in dated]
    quality = {}
    for weight in WEIGHTS:
        trm.periods = counted.with_weight(weight)
        trm.refresh()
        quality[weight] = measure(trm, dataset, dated, months).ndcg
    best = max(quality, key=lambda weight: (quality[weight], -weight))  # of equals the quieter
    trm.periods = counted.with_weight(best) if best else None
    trm.refresh()


def measure(
    trm: TRM, dataset: Dataset, examples: Sequence[Example], preferences: Preferences | None = None
) -> RankedValidation:
    """Quality on `examples`, plain or with one preference each."""
    ranks = catalogue_ranks(trm, examples, preferences, dataset=dataset)
    return RankedValidation(
        ndcg=float(ndcg(ranks, 10).mean()),
        recall=float(recall(ranks, 10).mean()),
        median_rank=float(np.median(ranks)),
    )


class EncoderTrainer:
    """Encoder, optimizer, running mean of the weights, and everything that a step draws from."""

    def __init__(
        self,
        encoder: SequentialEncoder,
        texts: ItemTexts,
        seen: NDArray[np.bool_],
        config: TRMConfig,
        rng: np.random.Generator,
    ) -> None:
        self.encoder = self.network = encoder
        self.device = encoder.start.device
        self.dtype = fast_dtype(self.device) if config.precision == "auto" else torch.float32
        self.text = torch.from_numpy(texts.whole).to(self.device)
        self.seen = torch.from_numpy(seen).to(self.device, torch.float32)
        self.config = config
        self.rng = rng
        with torch.no_grad():  # ids of items that the fit never meets stay at zero: no gradient, no decay
            encoder.ids.weight.mul_(self.seen.unsqueeze(-1))
        # Neither ids (a rare item's would shrink between its few steps) nor norms and biases decay.
        decay = [p for name, p in encoder.named_parameters() if p.ndim > 1 and "ids" not in name]
        rest = [p for name, p in encoder.named_parameters() if p.ndim <= 1 or "ids" in name]
        groups = [
            {"params": decay, "weight_decay": WEIGHT_DECAY},
            {"params": rest, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)
        self.averaged = AveragedModel(encoder, multi_avg_fn=running_mean(AVERAGED))
        self.steps = 0
        self.warmup = _WARMUP_STEPS

    def epoch(self, histories: Sequence[Window]) -> tuple[float, int]:
        """One pass over freshly cut windows; the mean loss and the number of trained positions."""
        self.encoder.train()
        windows = cut_windows(histories, self.config.history + 1, self.rng)
        steps = sum(len(window) for window in windows) // self.config.tokens_per_batch + 1
        self.warmup = min(_WARMUP_STEPS, 2 * steps)
        total, count = 0.0, 0
        for batch in cut_batches(windows, self.config.tokens_per_batch, self.rng):
            losses = self.step(pad_right(batch, self.device))
            total += float(losses.sum())
            count += len(losses)
            if not np.isfinite(total):
                raise TrainingError(
                    f"the TRM's loss became {total}; lower trm.learning_rate (now {self.config.learning_rate})"
                )
        return total / count, count

    def probe(self) -> None:
        """Forward and backward over made-up histories, to measure with; nothing is changed."""
        length = self.config.history + 1
        windows = torch.ones(max(1, self.config.tokens_per_batch // length), length, dtype=torch.long)
        with torch.random.fork_rng(devices=[]):
            self._losses(windows.to(self.device))
        self.encoder.zero_grad(set_to_none=True)

    def step(self, windows: Tensor) -> Tensor:
        """One optimizer step on windows (B, L + 1), padded with 0; the loss of each target."""
        self.optimizer.zero_grad(set_to_none=True)
        losses = self._losses(windows)
        torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), 1.0)  # one odd batch must not undo an epoch
        self.steps += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * min(1.0, self.steps / self.warmup)
        self.optimizer.step()
        self.averaged.update_parameters(self.encoder)
        return losses

    def _losses(self, windows: Tensor) -> Tensor:
        """The loss of each target, with the gradients of their sum added to the encoder's."""
        keep = self.seen  # what the fit never meets lives by its text, in training as in use
        if self.config.id_dropout:
            keep = keep * (torch.rand_like(self.seen) >= self.config.id_dropout)
        table = self.encoder.item_table(self.text, keep)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            # (B, L + 1, W); state t has seen t items
            states = self.encoder.states(table, self.histories(windows))
        places = self.places(windows)
        queries = states.flatten(0, 1).index_select(0, places).float()
        targets = windows.flatten()[places]
        return softmax_backward(queries, table[1:], targets - 1, self.dtype)

    def histories(self, windows: Tensor) -> Tensor:
        """What the encoder reads of windows (B, L + 1): all but the last place, (B, L)."""
        return windows[:, :-1]

    def places(self, windows: Tensor) -> Tensor:
        """Which places of the flattened windows are targets: every real item."""
        return windows.flatten().nonzero()[:, 0]

    def weights(self) -> dict[str, Tensor]:
        """A copy of what would be kept now: the running mean of the weights."""
        return {name: value.detach().clone() for name, value in self.averaged.module.state_dict().items()}


def fit_histories(dataset: Dataset) -> list[NDArray[np.int64]]:
    """What a fit may see, one array of item indices a user; TrainingError if there is nothing to predict."""
    histories = [np.asarray(example.history, dtype=np.int64) for example in dataset.fit_histories()]
    if not any(len(history) > 1 for history in histories):
        raise TrainingError(f"data set '{dataset.name}': no user has two interactions in the fit part")
    return histories


def validation_examples(dataset: Dataset, most: int, seed: int) -> list[Example]:
    """The examples that early stopping looks at: all, or a sample of `most` in the order of the data."""
    examples = dataset.examples("validation")
    if len(examples) <= most:
        return examples
    picked = np.sort(np.random.default_rng(seed).choice(len(examples), most, replace=False))
    return [examples[row] for row in picked]
