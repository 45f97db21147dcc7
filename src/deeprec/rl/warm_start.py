"""The warm start: makes the policy, or loads it, and teaches it the format on the fit part."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
from deeprec.policy.loading import load_policy, save_policy

from deeprec.config import RunConfig
from deeprec.data.dataset import Dataset
from deeprec.policy.tiny import build_tiny
from deeprec.policy.tokenizer import build_tokenizer
from deeprec.progress import progress_bar
from deeprec.rl.scripts import Document, corpus, scripted_trajectories, text_documents
from deeprec.rl.supervised import fit_documents
from deeprec.rollout.codec import TokenizerCodec
from deeprec.run import Run, append_jsonl, fingerprint
from deeprec.trm.base import Retriever

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

STAGE = "warm_start"


def run_warm_start(run: Run, dataset: Dataset, trm: Retriever) -> None:
    """Leave a policy at `run.policy("warm_start")`; does nothing if that is up to date.

    With `warm_start.enabled` off the untrained policy is saved as it is.
    """
    config = run.config
    trm_inputs = run.require("trm", "deeprec trm fit")["inputs"]
    inputs = fingerprint(trm_inputs, config.policy.model_dump(), config.warm_start.model_dump(), config.seed,
                         config.rollout.model_dump())  # fmt: skip
    if run.is_current(STAGE, inputs) and run.policy(STAGE).is_dir():
        return
    run.begin(STAGE)
    started = time.perf_counter()
    model, tokenizer = make_policy(config, dataset)
    if config.warm_start.enabled:
        _train(run, dataset, trm, model, tokenizer)
    save_policy(model, tokenizer, run.policy(STAGE))
    parameters = sum(weight.numel() for weight in model.parameters())
    run.finish(STAGE, inputs, (time.perf_counter() - started) / 60, parameters=parameters)


def make_policy(config: RunConfig, dataset: Dataset) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The untrained policy: tiny and built from the catalogue, or any causal LM by name or path."""
    if config.policy.model != "tiny":
        return load_policy(config.policy.model, config.policy)
    lines = max(config.rollout.history, config.rollout.retrieved, config.rollout.recommended)
    tokenizer = build_tokenizer(dataset.catalog, corpus(dataset), config.policy.pieces, lines)
    return build_tiny(config.policy, tokenizer, config.seed), tokenizer


def _train(
    run: Run,
    dataset: Dataset,
    trm: Retriever,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    config, codec = run.config, TokenizerCodec(tokenizer)
    settings = config.warm_start
    pad_id = tokenizer.pad_token_id
    parts = (("text", settings.text_epochs), ("scripts", 1))
    for name, epochs in parts:
        documents = (
            text_documents(dataset, codec, config.rollout)
            if name == "text"
            else script_documents(run, dataset, trm, codec, model.config.max_position_embeddings)
        )

        def log(figures: dict[str, float], name: str = name) -> None:
            append_jsonl(run.metrics, {"stage": STAGE, "part": name, **figures})

        fit_documents(
            model,
            documents,
            pad_id=pad_id,
            epochs=epochs,
            config=settings,
            seed=config.seed,
            folder=run.folder / "policy" / f"{STAGE}.{name}.checkpoints",
            title=f"Warm start: {name}",
            log=log,
        )


def script_documents(
    run: Run, dataset: Dataset, trm: Retriever, codec: TokenizerCodec, context_length: int
) -> list[Document]:
    """As many scripted trajectories as the settings ask for, as masked documents."""
    settings = run.config.warm_start
    count = settings.script_steps * settings.trajectories_per_step
    rng = np.random.default_rng((run.config.seed, 101))
    documents = []
    with progress_bar("Warm start: writing scripts", count) as bar:
        for chunk in scripted_trajectories(
            dataset, trm, codec, run.config.rollout, count, context_length, rng
        ):
            bar.advance(len(chunk))
            for trajectory in chunk:
                if trajectory.is_valid:
                    zeros = (0,) * len(trajectory.prompt_ids)
                    documents.append(
                        Document(
                            trajectory.prompt_ids + trajectory.response_ids, zeros + trajectory.loss_mask
                        )
                    )
    return documents
