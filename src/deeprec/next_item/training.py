"""Next-token prediction on histories: every item of a window from those before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from deeprec.data.dataset import Dataset
from deeprec.errors import TrainingError
from deeprec.metrics import ndcg, ranks_in_lists, recall
from deeprec.next_item.model import ItemModel, dropout
from deeprec.recommender import Recommender
from deeprec.settings.rivals import ItemTokensConfig
from deeprec.settings.trm import Precision
from deeprec.trm.epochs import Log, Validation, run_epochs, running_mean
from deeprec.trm.resuming import EpochCheckpoint
from deeprec.trm.softmax import fast_dtype, softmax_backward
from deeprec.trm.training import fit_histories, validation_examples
from deeprec.trm.windows import Window, cut_batches, cut_windows, leave_out, pad_right
from deeprec.types import Example

_WARMUP_STEPS = 100  # at most; little data warms up within two epochs
VALIDATION_USERS = 2000  # that early stopping looks at, at most
AVERAGED = 0.999  # memory of the running mean of the weights, a step
WEIGHT_DECAY = 1e-4
_ROWS = 64  # histories that are read at once to validate


@dataclass(frozen=True)
class Habits:
    """How a model reads that starts from what is known of its items, and should not unlearn it."""

    left_out: float = 0.0  # share of a window's items that a step doesn't see, on the mean (`leave_out`)
    title_rate: float = 1.0  # learning rate of the embeddings, as a share of that of the layers


PLAIN = Habits()


def fit_items(
    model: ItemModel,
    dataset: Dataset,
    config: ItemTokensConfig,
    recommender: Callable[[ItemModel], Recommender],
    *,
    seed: int,
    log: Log,
    title: str = "fit item tokens",
    checkpoint: EpochCheckpoint | None = None,
    precision: Precision = "auto",
    habits: Habits = PLAIN,
) -> None:
    """Train `model` in place on `dataset.fit_histories()`; keeps the best epoch.

    That is the one with the best NDCG@10 on `VALIDATION_USERS`, or where there are fewer of them, the one in which
    their targets are likeliest. Nothing of the validation and test parts is trained on; the validation part decides
    when to stop. `recommender` makes what is validated of a model; `checkpoint` is what an interrupted fit goes on
    from. Raises TrainingError when there
    is nothing to train on, or the loss is lost.
    """
    histories = fit_histories(dataset)
    examples = validation_examples(dataset, VALIDATION_USERS, seed)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        trainer = ItemTrainer(model, config, np.random.default_rng(seed), precision, habits)
        shown = ItemModel(deepcopy(model.model), model.tokenizer, model.names)

        def validate(weights: dict[str, Tensor]) -> Validation:
            shown.model.load_state_dict(weights)
            quality = measure(recommender(shown), examples)
            if len(examples) >= VALIDATION_USERS:
                return quality
            # NDCG@10 of fewer users jumps by more than what an epoch adds. Of many it is the better judge: where items
            # are rare, a fit that still ranks better and better grows too sure of itself, and its likelihood falls.
            return replace(quality, nats=target_nats(shown, examples, config.history))

        best = run_epochs(trainer, histories, validate if examples else None, log, title, checkpoint)
    model.model.load_state_dict(best)
    model.model.eval()


def measure(recommender: Recommender, examples: Sequence[Example]) -> Validation:
    """Quality at 10 on `examples`."""
    rankings = [found.ranking for found in recommender.recommend(examples, 10)]
    ranks = ranks_in_lists(rankings, [example.target for example in examples])
    return Validation(ndcg=float(ndcg(ranks, 10).mean()), recall=float(recall(ranks, 10).mean()))


@torch.no_grad()
def target_nats(model: ItemModel, examples: Sequence[Example], history: int) -> float:
    """Mean over `examples` of -log p(target | latest `history` items), in nats.

    An item's probability is the product over its codes, each among the codes of its level.
    """
    levels, total = model.names.levels, 0.0
    ordered = sorted(examples, key=lambda example: len(example.history))  # rows of a batch are about as long
    for start in range(0, len(ordered), _ROWS):
        batch = ordered[start : start + _ROWS]
        targets = [example.target for example in batch]
        read = [model.prefix(example.history[-history:]) for example in batch]
        written = model.item_ids[targets, :-1].tolist()
        rows = [np.array(before + behind) for before, behind in zip(read, written, strict=True)]
        states = model.states(pad_right(rows, model.device))
        codes = torch.from_numpy(model.names.codes[targets]).to(model.device)  # (B, L)
        last = torch.tensor([len(row) - levels for row in rows])
        for level in range(levels):
            logs = model.log_probs(states[torch.arange(len(rows)), last + level], level)
            total -= float(logs.gather(1, codes[:, level, None]).sum())
    return total / len(examples)


class ItemTrainer:
    """Model, optimizer, running mean of the weights, and everything that a step draws from."""

    def __init__(
        self,
        model: ItemModel,
        config: ItemTokensConfig,
        rng: np.random.Generator,
        precision: Precision = "auto",
        habits: Habits = PLAIN,
    ) -> None:
        self.items, self.config, self.rng, self.habits = model, config, rng, habits
        self.device = model.device
        self.dtype = fast_dtype(self.device) if precision == "auto" else torch.float32
        # On a CPU only the product with the vocabulary gains: torch's bfloat16 attention is several times
        # slower there, and in a small model the casts cost what the other products gain.
        self.autocast = self.dtype != torch.float32 and self.device.type == "cuda"
        self.table = model.item_ids.to(self.device)
        self.codes = torch.from_numpy(model.names.codes).to(self.device)
        whole = self.network = model.model
        tables = {id(layer.weight) for layer in (whole.get_input_embeddings(), whole.get_output_embeddings())}
        decay = [p for p in whole.parameters() if p.ndim > 1 and id(p) not in tables]
        rest = [p for p in whole.parameters() if p.ndim <= 1]
        titles = [p for p in whole.parameters() if id(p) in tables]
        groups = [
            {"params": decay, "weight_decay": WEIGHT_DECAY, "share": 1.0},
            {"params": rest, "weight_decay": 0.0, "share": 1.0},
            {"params": titles, "weight_decay": 0.0, "share": habits.title_rate},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)
        self.averaged = AveragedModel(whole, multi_avg_fn=running_mean(AVERAGED))
        self.steps, self.warmup = 0, _WARMUP_STEPS

    def epoch(self, histories: Sequence[Window]) -> tuple[float, int]:
        """One pass over freshly cut windows; the mean loss of an item and the number of trained items."""
        windows = cut_windows(histories, self.config.history + 1, self.rng)
        if self.habits.left_out:
            windows = leave_out(windows, self.habits.left_out, self.rng)
        most = max(1, self.config.tokens_per_batch // self.items.names.levels)  # items
        steps = sum(len(window) for window in windows) // most + 1
        self.warmup = min(_WARMUP_STEPS, 2 * steps)
        total, count = 0.0, 0
        self.items.model.train()
        with dropout(self.items.model, self.config.dropout):
            for batch in cut_batches(windows, most, self.rng):
                losses = self.step(pad_right(batch, self.device))
                total += float(losses.sum())
                count += len(losses)
                if not np.isfinite(total):
                    raise TrainingError(
                        f"the loss became {total}; lower rivals.item_tokens.learning_rate "
                        f"(now {self.config.learning_rate})"
                    )
        return total / count, count

    def step(self, windows: Tensor) -> Tensor:
        """One optimizer step on windows (B, n) of items, padded with 0; the loss of each item.

        An item's loss is the sum over its codes, each among the codes of its level.
        """
        levels = self.items.names.levels
        start = torch.full((len(windows), 1), self.items.start, device=self.device)
        tokens = torch.cat([start, self.table[windows].flatten(1)[:, :-1]], dim=1)  # (B, n L)
        with torch.autocast(self.device.type, self.dtype, enabled=self.autocast):
            states = self.items.states(tokens)  # (B, n L, W)
        places = windows.flatten().nonzero()[:, 0]
        targets = self.codes[windows.flatten()[places]]  # (N, L)
        # The layers are walked back once, with the gradient that all levels leave on the states.
        leaf = states.detach().float().requires_grad_()
        by_item = leaf.reshape(-1, levels, leaf.shape[-1])  # (B n, L, W)
        self.optimizer.zero_grad(set_to_none=True)
        losses = torch.zeros(len(places), device=self.device)
        for level in range(levels):
            queries = by_item[:, level].index_select(0, places)
            losses += softmax_backward(queries, self.items.rows(level), targets[:, level], self.dtype)
        assert leaf.grad is not None
        torch.autograd.backward([states], [leaf.grad.to(states.dtype)])
        torch.nn.utils.clip_grad_norm_(self.items.model.parameters(), 1.0)
        self.steps += 1
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * self.config.learning_rate * min(1.0, self.steps / self.warmup)
        self.optimizer.step()
        self.averaged.update_parameters(self.items.model)
        return losses

    def weights(self) -> dict[str, Tensor]:
        """A copy of what would be kept now: the running mean of the weights."""
        return {name: value.detach().clone() for name, value in self.averaged.module.state_dict().items()}
