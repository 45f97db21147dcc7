"""One set of weights that reads, speaks and ranks: it learns to speak, and is held to what it has read.

A small policy that learns to speak forgets how to read. So each iteration makes two optimizer steps, each
clipped by itself: on scripts (what to say), and on bare histories, where the policy should think what it
thought of each next title when it had only read (a divergence from that teacher's distribution, which tells
more than the title that came, and can't be learned by heart). What is kept is a running mean of the weights.
Learning the titles again instead overfits (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from deeprec.next_item.model import ItemModel, dropout
from deeprec.next_item.training import PLAIN, Habits
from deeprec.rl.documents import Document
from deeprec.rl.supervised import WEIGHT_DECAY
from deeprec.trm.epochs import running_mean
from deeprec.trm.softmax import fast_dtype, imitation_backward
from deeprec.trm.windows import Window, cut_batches, cut_windows, leave_out, pad_right

WARMUP_STEPS = 20  # at most; a twentieth of a short stage
READING_RATE = 1e-3  # learning rate of the reading step
READING_TITLES = 2048  # titles of bare histories in a step
SCRIPT_DROPOUT = 0.1
MEMORY = 0.99  # of the running mean of the weights, an iteration


@dataclass(frozen=True)
class JointPlan:
    """How long, how fast, and where an interrupted stage goes on from."""

    steps: int
    scripts_per_step: int
    learning_rate: float
    history: int  # latest titles that are read where a list opens
    seed: int
    folder: Path
    habits: Habits = PLAIN
    minutes: float | None = None  # after so many no iteration begins


class JointTrainer:
    """Model, optimizers, running mean of the weights, and the two steps of an iteration.

    `items` has read histories; as it is now it becomes the teacher of its own reading. What iteration n draws
    depends on the seed and n alone, so that a resumed stage ends as an uninterrupted one would.
    """

    def __init__(
        self,
        items: ItemModel,
        scripts: Sequence[Document],
        histories: Sequence[Window],
        plan: JointPlan,
        heard: Callable[[int], Sequence[Sequence[Document]]] | None = None,
    ) -> None:
        """`heard` gives further batches of texts, a step each, of an iteration: what users' words mean."""
        self.items, self.scripts, self.histories, self.plan = items, scripts, histories, plan
        self.device, self.dtype = items.device, fast_dtype(items.device)
        self.table = items.item_ids[:, 0].to(self.device)  # (n_items + 1,) token of each title
        # The policy as it had read, before it learns to speak.
        self.teacher = ItemModel(deepcopy(items.model), items.tokenizer, items.names)
        weights = list(items.model.parameters())
        betas = (0.9, 0.98)
        # An optimizer a step: their gradients differ in size, and shared moments would fit none of them.
        self.speaking = torch.optim.AdamW(weights, betas=betas, weight_decay=WEIGHT_DECAY, fused=True)
        self.reading = torch.optim.AdamW(weights, betas=betas, weight_decay=0.0, fused=True)
        self.averaged = AveragedModel(items.model, multi_avg_fn=running_mean(MEMORY))
        self.heard = heard
        self.hearing = torch.optim.AdamW(weights, betas=betas, weight_decay=WEIGHT_DECAY, fused=True)
        self.best: dict[str, Tensor] | None = None  # weights

    def iterate(self, number: int, scripts: Sequence[Document], windows: Sequence[Window]) -> Losses:
        """Iteration `number` (from 0): the two steps, and the running mean of what they left.

        Where words are heard each of those steps is followed by its part of the reading: one step of reading
        behind all of them would not bring back what they had moved (docs/log.md).
        """
        share = learning_share(number, self.plan.steps)
        rng = np.random.default_rng((self.plan.seed, 7, number))
        self.items.model.train()
        batches: Sequence[Sequence[Document]] = (self.heard(number) if self.heard else ()) or [()]
        heard: list[float] = []
        read: list[float] = []
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(int(rng.integers(2**31)))
            spoken = self.speak(scripts, self.plan.learning_rate * share)
            for place, texts in enumerate(batches):
                heard.append(self.hear(texts, self.plan.learning_rate * share))
                if part := windows[place :: len(batches)]:
                    read.append(self.read(part, READING_RATE * share))
        self.averaged.update_parameters(self.items.model)
        return Losses(spoken, float(np.mean(read)), float(np.mean(heard)))

    def speak(self, scripts: Sequence[Document], rate: float) -> float:
        """A step on scripts; the loss of a spoken token."""
        return self._write(scripts, self.speaking, rate)

    def hear(self, texts: Sequence[Document], rate: float) -> float:
        """A step on further texts, if there are any; the loss of a token that is written."""
        return self._write(texts, self.hearing, rate) if texts else 0.0

    def _write(self, texts: Sequence[Document], optimizer: torch.optim.Optimizer, rate: float) -> float:
        """A step on the wanted tokens of `texts`; the loss of one."""
        rows = _pad([text.ids for text in texts], self.device)
        wanted = _pad([text.mask for text in texts], self.device)[:, 1:].bool()
        with dropout(self.items.model, SCRIPT_DROPOUT):
            states = self.items.states(rows)
        head = self.items.model.get_output_embeddings().weight
        loss = functional.cross_entropy((states[:, :-1][wanted] @ head.T).float(), rows[:, 1:][wanted])
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward([loss])
        self._step(optimizer, rate)
        return loss.item()

    def read(self, windows: Sequence[Window], rate: float) -> float:
        """A step towards the teacher on every title of bare windows; the divergence from it at one."""
        titles = [self.table[torch.as_tensor(np.asarray(window), device=self.device)] for window in windows]
        rows = [[self.items.start, *found[:-1].tolist()] for found in titles]
        with torch.no_grad():
            shown = self._states(self.teacher, rows)
        states = self._states(self.items, rows)
        # Walked back in two parts, as the gradient of a softmax over thousands is cheaper written out.
        leaf = states.detach().float().requires_grad_()
        self.reading.zero_grad(set_to_none=True)
        losses = imitation_backward(leaf, self.items.rows(0), (shown, self.teacher.rows(0)), self.dtype)
        assert leaf.grad is not None
        torch.autograd.backward([states], [leaf.grad.to(states.dtype)])
        self._step(self.reading, rate)
        return losses.mean().item()

    def _states(self, items: ItemModel, rows: Sequence[Sequence[int]]) -> Tensor:
        """Hidden states (N, W) behind every id of all rows."""
        states = items.states(_pad(rows, self.device))
        return torch.cat([state[: len(row)] for state, row in zip(states, rows, strict=True)])

    def _step(self, optimizer: torch.optim.Optimizer, rate: float) -> None:
        torch.nn.utils.clip_grad_norm_(self.items.model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with self._slow_titles():
            optimizer.step()

    @contextmanager
    def _slow_titles(self) -> Iterator[None]:
        """Within the block titles go a share of their way: they share a table with words, which start from nothing."""
        share = self.plan.habits.title_rate
        if share == 1.0:
            yield
            return
        table, titles = self.items.model.get_input_embeddings().weight, self.table[1:]
        before = table.detach()[titles]
        yield
        with torch.no_grad():
            table[titles] = torch.lerp(before, table[titles], share)

    def keep(self) -> None:
        """Remember the running mean as it is now as the best weights."""
        self.best = {name: value.clone() for name, value in self.averaged.module.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """All that a resumed stage needs."""
        return {
            "model": self.items.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "speaking": self.speaking.state_dict(),
            "reading": self.reading.state_dict(),
            **({"hearing": self.hearing.state_dict()} if self.heard else {}),
            "best": self.best,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take what `state` gave."""
        self.items.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.speaking.load_state_dict(state["speaking"])
        self.reading.load_state_dict(state["reading"])
        if self.heard:
            self.hearing.load_state_dict(state["hearing"])
        self.best = state["best"]


@dataclass(frozen=True)
class Losses:
    """Of an iteration, in nats: of a spoken token, the divergence from the teacher at a title, and of a token that
    further texts write (0 without any).
    """

    spoken: float
    read: float
    heard: float = 0.0


def learning_share(number: int, steps: int) -> float:
    """Share of the learning rate in iteration `number` of `steps`: up in a line, then constant.

    The running mean does what a falling rate would do, whenever the stage ends.

    >>> [learning_share(number, 40) for number in (0, 1, 39)]
    [0.5, 1.0, 1.0]
    """
    return min(1.0, (number + 1) / max(1, min(WARMUP_STEPS, steps // 20)))


def bare_windows(histories: Sequence[Window], plan: JointPlan) -> Iterator[list[Window]]:
    """Batches of bare windows without end, epoch after epoch, cut anew in each."""
    epoch = 0
    while True:
        rng = np.random.default_rng((plan.seed, 8, epoch))
        windows = cut_windows(histories, plan.history + 1, rng)
        if plan.habits.left_out:
            windows = leave_out(windows, plan.habits.left_out, rng)
        yield from cut_batches(windows, READING_TITLES, rng)
        epoch += 1


def _pad(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    # Padding stands behind, where causal attention never looks; id 0 is as good as any there.
    return pad_right([np.asarray(row, dtype=np.int64) for row in rows], device)
