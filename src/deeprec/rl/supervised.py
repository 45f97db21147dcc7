"""Supervised training on masked documents, by transformers' Trainer."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from deeprec.config import WarmStartConfig
from deeprec.device import check_one_gpu, check_one_process
from deeprec.disk import append_jsonl, drop_rows, read_jsonl
from deeprec.errors import TrainingError
from deeprec.policy.loading import silently
from deeprec.progress import Bar, progress_bar
from deeprec.rl.callbacks import CheckpointMarker, latest_checkpoint
from deeprec.rl.documents import Document
from deeprec.rl.extras import require_extra
from deeprec.rl.failures import named_failures
from deeprec.rollout.engines.causal_lm import context_limit
from deeprec.rollout.likelihood import logits_of
from deeprec.run import Run

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class HasIds(Protocol):
    """Anything with token ids."""

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids."""
        ...


Row = TypeVar("Row", bound=HasIds)


class StepLog:
    """Appends a fit's figures to the run's log: each step once, however often the fit is interrupted.

    `checkpoints` is where it goes on from; without that folder rows of the stage tell of another model, and go.
    """

    def __init__(self, run: Run, stage: str, checkpoints: Path) -> None:
        self._file, self._stage = run.metrics, stage
        if not checkpoints.is_dir():
            drop_rows(run.metrics, stage)
        self._logged = {row["step"] for row in read_jsonl(run.metrics) if row.get("stage") == stage}

    def __call__(self, figures: dict[str, float]) -> None:
        """Append one step's, unless it was there."""
        if figures["step"] not in self._logged:
            append_jsonl(self._file, {"stage": self._stage, **figures})


_NEIGHBOURS = 32  # batches that are sorted by length together
_CHECKPOINTS = 10  # per run, at most
WEIGHT_DECAY = 0.01  # AdamW's


def fit_documents(
    model: PreTrainedModel,
    documents: Sequence[Document],
    *,
    pad_id: int,
    epochs: int,
    config: WarmStartConfig,
    seed: int,
    folder: Path,
    title: str,
    log: Callable[[dict[str, float]], None],
) -> None:
    """Train `model` in place on the masked tokens of `documents`, `epochs` times over.

    Checkpoints go into `folder`; an interrupted call goes on from the last one. They stay until the caller has
    saved the model, and removes them. Raises TrainingError when the loss or a weight is not a
    finite number, or when all documents together are fewer than one step's, MissingExtraError without the extra
    `train`.
    """
    if not documents or epochs == 0:
        return
    check_one_process()
    check_one_gpu()
    require_extra()
    order = [
        document
        for epoch in range(epochs)
        for document in batched_by_length(documents, config.trajectories_per_step, seed + epoch)
    ]
    steps = len(order) // config.trajectories_per_step
    if steps == 0:
        raise TrainingError(
            f"warm start: {len(documents)} documents don't fill one step; "
            f"lower warm_start.trajectories_per_step ({config.trajectories_per_step})"
        )
    _check_lengths(model, order)
    arguments = _arguments(model, config, steps, seed, folder)
    with progress_bar(title, steps) as bar, silently(), _checkpointing(model, config.gradient_checkpointing):
        trainer = _MaskedTrainer(
            model=model,
            args=arguments,
            train_dataset=order,
            data_collator=lambda rows: collate(rows, pad_id),
            callbacks=[_Watch(bar, log), CheckpointMarker()],
        )
        trainer.remove_callback(PrinterCallback)
        checkpoint = latest_checkpoint(folder)
        with named_failures(folder, _out_of_memory(config)):
            trainer.train(resume_from_checkpoint=str(checkpoint[0]) if checkpoint else None)
    # The loss is logged now and then: what broke after the last time shows in the weights.
    if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
        raise TrainingError(_diverged("a weight is not a finite number", steps))


def _check_lengths(model: PreTrainedModel, documents: Sequence[Document]) -> None:
    """Raise TrainingError for a text that the model has no positions for: it fails, or learns what it never reads."""
    longest, most = max(len(document.ids) for document in documents), context_limit(model)
    if most is not None and longest > most:
        raise TrainingError(
            f"warm start: a text has {longest} tokens, and the policy reads {most} at most; lower rollout.history, "
            "show fewer rollout.prompt_fields, or take a policy with a longer context (tiny: policy.context)"
        )


def _arguments(
    model: PreTrainedModel, config: WarmStartConfig, steps: int, seed: int, folder: Path
) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=config.trajectories_per_step,
        learning_rate=config.learning_rate,
        weight_decay=WEIGHT_DECAY,
        adam_beta2=0.98,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, steps // 20),
        max_grad_norm=1.0,
        train_sampling_strategy="sequential",  # batches of like length were made and shuffled here
        save_steps=max(50, -(-steps // _CHECKPOINTS)),
        save_total_limit=1,  # the former one goes once the next is whole
        logging_steps=max(1, steps // 20),
        logging_nan_inf_filter=False,  # it would show the last good loss in place of a lost one
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,  # rows are no columns: our own collator reads them
        dataloader_pin_memory=torch.cuda.is_available(),
        bf16=model.dtype == torch.bfloat16,
        seed=seed,
        data_seed=seed,
        use_cpu=not torch.cuda.is_available(),
    )


@contextmanager
def _checkpointing(model: PreTrainedModel, wanted: bool) -> Iterator[None]:
    """Activations are computed again in the backward pass rather than kept, where `wanted`."""
    if not wanted:
        yield
        return
    # Since transformers 5.23 under another name.
    kind = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
    # The re-entrant way would want the embeddings trained, which adapters leave alone.
    getattr(model, f"{kind}_checkpointing_enable")({"use_reentrant": False})
    try:
        yield
    finally:
        getattr(model, f"{kind}_checkpointing_disable")()


def batched_by_length(documents: Sequence[Row], size: int, seed: int) -> list[Row]:
    """Documents in a shuffled order in which each batch of `size` has like lengths.

    The rest that does not fill a batch is left out (another epoch leaves out others).
    """
    rng = random.Random(seed)
    shuffled = list(documents)
    rng.shuffle(shuffled)
    batches = []
    for start in range(0, len(shuffled), size * _NEIGHBOURS):
        block = sorted(shuffled[start : start + size * _NEIGHBOURS], key=lambda document: len(document.ids))
        batches += [block[at : at + size] for at in range(0, len(block) - size + 1, size)]
    # Else lengths would rise and fall in waves, and with them what is learned.
    rng.shuffle(batches)
    return [document for batch in batches for document in batch]


def collate(rows: Sequence[Document], pad_id: int) -> dict[str, Tensor]:
    """Right-padded `input_ids`, `attention_mask` and `wanted`, each (B, T)."""
    width = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    attention = torch.zeros((len(rows), width), dtype=torch.long)
    wanted = torch.zeros((len(rows), width), dtype=torch.long)
    for position, row in enumerate(rows):
        ids[position, : len(row.ids)] = torch.tensor(row.ids)
        attention[position, : len(row.ids)] = 1
        wanted[position, : len(row.mask)] = torch.tensor(row.mask)
    return {"input_ids": ids, "attention_mask": attention, "wanted": wanted}


def _out_of_memory(config: WarmStartConfig) -> str:
    return (
        "warm start: out of memory; set warm_start.gradient_checkpointing = true (results stay the same), or lower "
        f"warm_start.trajectories_per_step ({config.trajectories_per_step} now; it begins anew)"
    )


def _diverged(what: str, step: int) -> str:
    return f"warm start: {what} at step {step}; lower warm_start.learning_rate"


class _MaskedTrainer(Trainer):  # type: ignore[misc]
    """Takes the loss on wanted tokens only, and computes only their logits."""

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        wanted = inputs["wanted"]
        bare = self.accelerator.unwrap_model(model)
        logits = logits_of(bare, inputs["input_ids"], inputs["attention_mask"], wanted)
        targets = inputs["input_ids"][:, 1:][wanted[:, 1:].bool()]
        loss = torch.nn.functional.cross_entropy(logits.float(), targets)
        return (loss, {}) if return_outputs else loss


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Moves the bar, hands figures on, and stops at a loss that is not a number."""

    def __init__(self, bar: Bar, log: Callable[[dict[str, float]], None]) -> None:
        self._bar, self._log, self._note = bar, log, ""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._bar.advance(1, self._note)

    def on_log(self, args: Any, state: Any, control: Any, **details: Any) -> None:
        logs: dict[str, float] = details.get("logs") or {}
        if "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise TrainingError(_diverged(f"the loss is {loss}", state.global_step))
        self._note = f"loss {loss:.3f}"
        self._log({"step": float(state.global_step), "loss": loss})
