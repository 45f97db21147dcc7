"""One set of weights that reads, speaks and ranks: scripts and reading, learned side by side.

A small policy that learns to speak forgets how to read, and one that reads bare histories alone
can't read one at the end of a long context. So each iteration makes three optimizer steps, each
clipped by itself: on scripts (what to say, and the next title where the list opens), on a batch of
bare histories, and on histories that stand behind the trajectories of *other* users, which have
nothing to tell of them. What is kept is a running mean of the weights. Each of the three was
tried alone and summed into one loss: docs/log.md has what was lost.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from deeprec.artefacts import mark_whole, read_whole
from deeprec.disk import whole_folder
from deeprec.errors import TrainingError
from deeprec.next_item.model import ItemModel, dropout
from deeprec.progress import progress_bar
from deeprec.rl.documents import Document, ListDocument
from deeprec.rl.failures import named_failures
from deeprec.rl.supervised import WEIGHT_DECAY, batched_by_length
from deeprec.rollout.engines.causal_lm import context_limit
from deeprec.trm.epochs import running_mean
from deeprec.trm.softmax import fast_dtype, softmax_backward
from deeprec.trm.windows import Window, cut_batches, cut_windows, pad_right

WARMUP_STEPS = 20  # at most; a twentieth of a short stage
LIST_WEIGHT = 0.3  # of the loss on the next title where a script opens its list, beside that of its words
READING_RATE = 2e-3  # peak learning rate of both reading steps; they end at a tenth of it
READING_FLOOR = 0.1
READING_TITLES = 4096  # titles of bare histories in a step
WINDOWS_BEHIND = 24  # histories a step that stand behind another user's trajectory
SCRIPT_DROPOUT, READING_DROPOUT = 0.1, 0.2
MEMORY = 0.99  # of the running mean of the weights, an iteration
_CHECKPOINTS = 10  # per stage, at most
_state_file = "state.pt"  # not in capitals: no result depends on it

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JointPlan:
    """How long, how fast, and where an interrupted stage goes on from."""

    steps: int
    scripts_per_step: int
    learning_rate: float
    history: int  # latest titles that are read where a list opens
    seed: int
    folder: Path


class JointTrainer:
    """Model, optimizers, running mean of the weights, and the three steps of an iteration.

    What iteration n draws depends on the seed and n alone, so that a resumed stage ends as an
    uninterrupted one would.
    """

    def __init__(
        self,
        items: ItemModel,
        scripts: Sequence[ListDocument],
        histories: Sequence[Window],
        plan: JointPlan,
        heard: Callable[[int], Sequence[Document]] | None = None,
    ) -> None:
        """`heard` gives further texts, for two more steps of each iteration: what users' words mean."""
        self.items, self.scripts, self.histories, self.plan = items, scripts, histories, plan
        self.device, self.dtype = items.device, fast_dtype(items.device)
        self.positions = context_limit(items.model)
        self.table = items.item_ids[:, 0].to(self.device)  # (n_items + 1,) token of each title
        weights = list(items.model.parameters())
        betas = (0.9, 0.98)
        # An optimizer a step: their gradients differ in size, and shared moments would fit none of them.
        self.speaking = torch.optim.AdamW(weights, betas=betas, weight_decay=WEIGHT_DECAY, fused=True)
        self.reading = torch.optim.AdamW(weights, betas=betas, weight_decay=1e-4, fused=True)
        self.averaged = AveragedModel(items.model, multi_avg_fn=running_mean(MEMORY))
        self.heard = heard
        self.hearing = torch.optim.AdamW(weights, betas=betas, weight_decay=WEIGHT_DECAY, fused=True)

    def iterate(self, number: int, scripts: Sequence[ListDocument], windows: Sequence[Window]) -> Losses:
        """Iteration `number` (from 0): the three steps, and the running mean of what they left."""
        share = learning_share(number, self.plan.steps)
        rng = np.random.default_rng((self.plan.seed, 7, number))
        self.items.model.train()
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(int(rng.integers(2**31)))
            spoken, listed = self.speak(scripts, self.plan.learning_rate * share)
            heard = sum(self.hear(2 * number + part, self.plan.learning_rate * share) for part in (0, 1)) / 2
            rate = READING_RATE * (READING_FLOOR + (1 - READING_FLOOR) * share)
            read = self.read([()] * len(windows), windows, rate)
            behind = self.read(*self._behind(rng), rate)
        self.averaged.update_parameters(self.items.model)
        return Losses(spoken, listed, read, behind, heard)

    def speak(self, scripts: Sequence[ListDocument], rate: float) -> tuple[float, float]:
        """A step on scripts; the losses of a spoken token, and of the next title where the list opens."""
        rows = _pad([script.ids for script in scripts], self.device)
        spoken = _pad([script.mask for script in scripts], self.device)[:, 1:].bool()
        # The script ends where its list opens: the last position is the one that the list is drawn from.
        ends = torch.tensor([len(script.ids) - 1 for script in scripts], device=self.device)
        targets = torch.tensor([script.target for script in scripts], device=self.device)
        with dropout(self.items.model, SCRIPT_DROPOUT):
            states = self.items.states(rows)
        head = self.items.model.get_output_embeddings().weight
        said = functional.cross_entropy((states[:, :-1][spoken] @ head.T).float(), rows[:, 1:][spoken])
        opened = states[torch.arange(len(rows), device=self.device), ends]
        listed = functional.cross_entropy((opened @ head[self.table[1:]].T).float(), targets - 1)
        self.speaking.zero_grad(set_to_none=True)
        torch.autograd.backward([said + LIST_WEIGHT * listed])
        self._step(self.speaking, rate)
        return said.item(), listed.item()

    def hear(self, number: int, rate: float) -> float:
        """Step `number` on further texts, if there are any; the loss of a token that is written."""
        texts = self.heard(number) if self.heard else ()
        if not texts:
            return 0.0
        rows = _pad([text.ids for text in texts], self.device)
        wanted = _pad([text.mask for text in texts], self.device)[:, 1:].bool()
        with dropout(self.items.model, SCRIPT_DROPOUT):
            states = self.items.states(rows)
        head = self.items.model.get_output_embeddings().weight
        loss = functional.cross_entropy((states[:, :-1][wanted] @ head.T).float(), rows[:, 1:][wanted])
        self.hearing.zero_grad(set_to_none=True)
        torch.autograd.backward([loss])
        self._step(self.hearing, rate)
        return loss.item()

    def read(self, before: Sequence[Sequence[int]], windows: Sequence[Window], rate: float) -> float:
        """A step on every title of windows that each follow the token ids `before`; the loss of a title."""
        start = self.items.start
        titles = [self.table[torch.as_tensor(np.asarray(window), device=self.device)] for window in windows]
        rows = _pad([[*ids, start, *found[:-1].tolist()] for ids, found in zip(before, titles, strict=True)],
                    self.device)  # fmt: skip
        wanted = _pad([[*[0] * len(ids), *window] for ids, window in zip(before, windows, strict=True)],
                      self.device)  # fmt: skip
        with dropout(self.items.model, READING_DROPOUT):
            states = self.items.states(rows)
        places = wanted.flatten().nonzero()[:, 0]
        # Walked back in two parts, as the gradient of a softmax over thousands is cheaper written out.
        leaf = states.detach().float().requires_grad_()
        self.reading.zero_grad(set_to_none=True)
        queries = leaf.flatten(0, 1).index_select(0, places)
        losses = softmax_backward(queries, self.items.rows(0), wanted.flatten()[places] - 1, self.dtype)
        assert leaf.grad is not None
        torch.autograd.backward([states], [leaf.grad.to(states.dtype)])
        self._step(self.reading, rate)
        return losses.mean().item()

    def _behind(self, rng: np.random.Generator) -> tuple[list[tuple[int, ...]], list[Window]]:
        """Contexts in which a list opens, and windows of other users' histories to be read there."""
        length = self.plan.history + 1
        contexts, windows = [], []
        for _ in range(WINDOWS_BEHIND):
            script = self.scripts[int(rng.integers(len(self.scripts)))]
            history = self.histories[int(rng.integers(len(self.histories)))]
            start = int(rng.integers(max(1, len(history) - length + 1)))
            contexts.append(script.ids[: script.opened])
            # The last title is never read, only predicted; the start token stands in front of the first.
            most = length if self.positions is None else self.positions - script.opened
            windows.append(history[start : start + min(length, most)])
        return contexts, windows

    def _step(self, optimizer: torch.optim.Optimizer, rate: float) -> None:
        torch.nn.utils.clip_grad_norm_(self.items.model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()

    def state(self) -> dict[str, object]:
        """All that a resumed stage needs."""
        return {
            "model": self.items.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "speaking": self.speaking.state_dict(),
            "reading": self.reading.state_dict(),
            **({"hearing": self.hearing.state_dict()} if self.heard else {}),
        }

    def restore(self, state: dict[str, dict[str, object]]) -> None:
        """Take what `state` gave."""
        self.items.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.speaking.load_state_dict(state["speaking"])
        self.reading.load_state_dict(state["reading"])
        if self.heard:
            self.hearing.load_state_dict(state["hearing"])


@dataclass(frozen=True)
class Losses:
    """Of an iteration, in nats: a spoken token, the next title of a list, of bare histories, and of those behind.

    `heard` is that of a token which further texts write, 0 without any.
    """

    spoken: float
    listed: float
    read: float
    behind: float
    heard: float = 0.0


def fit_jointly(trainer: JointTrainer, log: Callable[[dict[str, float]], None]) -> None:
    """All iterations, going on from the last checkpoint; leaves the running mean in the model.

    Raises TrainingError when a loss is not a finite number, or memory or disk run out.
    """
    memory = "warm start: out of memory; lower warm_start.trajectories_per_step, or take a smaller policy"
    with named_failures(trainer.plan.folder, memory):
        _iterate(trainer, log)
    trainer.items.model.load_state_dict(trainer.averaged.module.state_dict())
    trainer.items.model.eval()


def _iterate(trainer: JointTrainer, log: Callable[[dict[str, float]], None]) -> None:
    plan = trainer.plan
    folder = plan.folder / "joint"
    done = _resume(trainer, folder)
    size = min(plan.scripts_per_step, len(trainer.scripts))
    order = batched_by_length(trainer.scripts, size, plan.seed)
    every = max(1, plan.steps // _CHECKPOINTS)
    with progress_bar("Warm start: reading, speaking, ranking", plan.steps) as bar:
        bar.advance(done)
        windows = islice(_stream(trainer.histories, plan), done, plan.steps)
        for number, batch in enumerate(windows, done):
            # The order holds whole batches only, perhaps one fewer than there are iterations.
            start = number * size % (len(order) // size * size)
            losses = trainer.iterate(number, order[start : start + size], batch)
            _check(losses, number)
            bar.advance(1, f"speaks {losses.spoken:.3f}, reads {losses.read:.3f}")
            if (number + 1) % every == 0:
                more = {"loss/wishes": losses.heard} if trainer.heard else {}
                log({"step": float(number + 1), "loss": losses.spoken, "loss/list": losses.listed,
                     "loss/reading": losses.read, "loss/behind": losses.behind, **more})  # fmt: skip
                _save(trainer, folder, number + 1)


def learning_share(number: int, steps: int) -> float:
    """Share of the peak learning rate in iteration `number` of `steps`: up in a line, down along a cosine.

    >>> [round(learning_share(number, 40), 2) for number in (0, 1, 19, 39)]
    [0.5, 0.99, 0.5, 0.0]
    """
    done = (number + 1) / steps
    warm = min(1.0, (number + 1) / max(1, min(WARMUP_STEPS, steps // 20)))
    return warm * (0.5 + 0.5 * math.cos(math.pi * done))


def _stream(histories: Sequence[Window], plan: JointPlan) -> Iterator[list[Window]]:
    """Batches of bare windows without end, epoch after epoch, cut anew in each."""
    epoch = 0
    while True:
        rng = np.random.default_rng((plan.seed, 8, epoch))
        yield from cut_batches(cut_windows(histories, plan.history + 1, rng), READING_TITLES, rng)
        epoch += 1


def _pad(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    # Padding stands behind, where causal attention never looks; id 0 is as good as any there.
    return pad_right([np.asarray(row, dtype=np.int64) for row in rows], device)


def _check(losses: Losses, number: int) -> None:
    values = (losses.spoken, losses.listed, losses.read, losses.behind, losses.heard)
    if not all(map(math.isfinite, values)):
        raise TrainingError(f"warm start: the loss is not a finite number at step {number + 1}; "
                            "lower warm_start.learning_rate")  # fmt: skip


def _save(trainer: JointTrainer, folder: Path, step: int) -> None:
    with whole_folder(folder) as part:
        torch.save(trainer.state(), part / _state_file)
        mark_whole(part, step=step)


def _resume(trainer: JointTrainer, folder: Path) -> int:
    """Iterations that a checkpoint holds, whose state is taken over; 0 without one, or for a damaged one."""
    if not folder.is_dir():
        return 0
    facts = read_whole(folder)
    if isinstance(facts, str):
        _log.warning("%s, so the warm start begins again", facts)
        return 0
    trainer.restore(torch.load(folder / _state_file, map_location=trainer.device, weights_only=True))
    return int(facts["step"])
