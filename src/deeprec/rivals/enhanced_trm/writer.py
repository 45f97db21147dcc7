"""The language model that writes: any causal LM, or a tiny one taught on the spot."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from deeprec.config import RunConfig
from deeprec.contents import model_files
from deeprec.data.dataset import Dataset
from deeprec.errors import PolicyError
from deeprec.inputs import constants_of
from deeprec.rivals.enhanced_trm.prompts import HISTORY
from deeprec.rl import recipe
from deeprec.rl.documents import Document
from deeprec.rl.scripts import corpus
from deeprec.run import Run, fingerprint
from deeprec.settings.effect import WRITER

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from deeprec.rollout.codec import Codec

SETTING = "rivals.enhanced_trm.model"
_LINE_BREAK = "\n"
_TEXTS_PER_STEP = 16
TEXT_STEPS = 600  # of the tiny writer's teaching


@dataclass(frozen=True, slots=True)
class Written:
    """One line as a model wrote it, without its line break, and how many tokens it took."""

    text: str
    tokens: int


class Writer(Protocol):
    """Replies to prompts with one line each."""

    def write(self, prompts: Sequence[str], cap: int) -> list[Written]:
        """One line of at most `cap` tokens a prompt, in order, written greedily."""
        ...


class ModelWriter:
    """Writes with a causal LM in this process. A model with a chat template is asked by it."""

    def __init__(self, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        import torch

        from deeprec.rollout.codec import TokenizerCodec
        from deeprec.rollout.engines.local import LocalEngine

        model.to("cuda" if torch.cuda.is_available() else "cpu")
        self._name = name
        self._codec = TokenizerCodec(tokenizer)
        self._engine = LocalEngine(model, seed=0)  # greedy: draws nothing
        self._ends = frozenset({self._codec.eos_id, *_line_breaks(tokenizer)})

    def write(self, prompts: Sequence[str], cap: int) -> list[Written]:
        """One line of at most `cap` tokens a prompt. Raises PolicyError where the context has no room for them."""
        from deeprec.rollout.engines.base import Request, Sampling

        contexts = [self._encode(prompt) for prompt in prompts]
        longest = max(map(len, contexts), default=0)
        if longest + cap > self._engine.context_length:
            raise PolicyError(
                f"{SETTING} = '{self._name}': a prompt of {longest} tokens and {cap} to write don't fit into its "
                f"context of {self._engine.context_length}; lower rivals.enhanced_trm.short_history or "
                "feature_tokens, or take a model with a longer context (tiny: policy.context)"
            )
        sampling = Sampling(0.0, 1.0, cap, self._ends)
        requests = [Request(key, context, cap) for key, context in enumerate(contexts)]
        self._engine.forget()
        segments = self._engine.generate(requests, sampling)
        self._engine.forget()
        found = []
        for segment in segments:
            ids = segment.token_ids
            ended = bool(ids) and ids[-1] == self._codec.eos_id
            text = self._codec.decode(ids[:-1] if ended else ids)
            found.append(Written(text.partition(_LINE_BREAK)[0], len(ids)))
        return found

    def _encode(self, prompt: str) -> tuple[int, ...]:
        return tuple(self._codec.encode_prompt(prompt, chat=True))


def _line_breaks(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens that hold a line break."""
    texts = tokenizer.batch_decode(
        [[token] for token in range(len(tokenizer))],
        skip_special_tokens=False,
        clean_up_tokenization_spaces=False,
    )
    return [token for token, text in enumerate(texts) if _LINE_BREAK in text]


def model_name(config: RunConfig) -> str:
    """Name and weights of the model; a hub name stands for itself, a folder for what it holds."""
    name = config.rivals.enhanced_trm.model
    files = model_files(name)
    return f"{Path(name).expanduser().name}-{fingerprint(files)}" if files else name


def writer_key(run: Run, dataset: Dataset) -> str:
    """What tells this writer from any other; the tiny one is all that it is made from."""
    config = run.config
    name = model_name(config)
    if name != "tiny":
        return name
    return f"tiny-{fingerprint(dataset.fingerprint, tiny_recipe(config))}"


def tiny_recipe(config: RunConfig) -> dict[str, Any]:
    """What makes the tiny writer: settings, tokenizer and constants."""
    from deeprec.policy import tiny
    from deeprec.rl import supervised

    return {
        "settings": config.identity(WRITER),
        "tokenizer": recipe.tokenizer(config.policy.model_copy(update={"model": "tiny"})),
        "constants": constants_of(tiny, supervised, sys.modules[__name__]),
    }


def load_writer(run: Run, dataset: Dataset, work: Path) -> ModelWriter:
    """The writer that the settings name; a tiny one is kept in `work` once it is taught.

    Raises PolicyError for a model that can't be read.
    """
    from deeprec.policy.loading import load_causal_lm

    name = run.config.rivals.enhanced_trm.model
    if name == "tiny":
        if not (work / "tiny" / "config.json").is_file():
            _teach(run, dataset, work)
        model, tokenizer = load_causal_lm(str(work / "tiny"), run.config.policy.dtype, SETTING)
    else:
        model, tokenizer = load_causal_lm(name, run.config.policy.dtype, SETTING)
    return ModelWriter(name, model.eval(), tokenizer)


def _teach(run: Run, dataset: Dataset, work: Path) -> None:
    """A tiny model that has read fit histories and nothing else.

    (Taught facts about items as well, it told of every item the commonest ones: a title is one token
    to it, so that it knows nothing of an item but whom it was with.)
    """
    from deeprec.policy.loading import save_policy
    from deeprec.policy.tiny import build_tiny
    from deeprec.policy.tokenizer import build_tokenizer
    from deeprec.rl.extras import require_extra
    from deeprec.rl.supervised import StepLog, fit_documents
    from deeprec.rollout.codec import TokenizerCodec

    config: RunConfig = run.config
    require_extra()
    tokenizer = build_tokenizer(dataset.catalog, corpus(dataset), config.policy.pieces, HISTORY)
    model = build_tiny(config.policy, tokenizer, config.seed)
    codec = TokenizerCodec(tokenizer)
    fit_documents(
        model,
        teaching_texts(dataset, codec, HISTORY, TEXT_STEPS * _TEXTS_PER_STEP, config.seed),
        pad_id=tokenizer.pad_token_id,
        epochs=1,
        config=config.warm_start.model_copy(update={"trajectories_per_step": _TEXTS_PER_STEP}),
        seed=config.seed,
        folder=work / "checkpoints",
        title="Teaching the writer",
        log=StepLog(run, WRITER, work / "checkpoints"),
    )
    save_policy(model, tokenizer, work / "tiny")
    shutil.rmtree(work / "checkpoints", ignore_errors=True)


def teaching_texts(dataset: Dataset, codec: Codec, length: int, count: int, seed: int) -> list[Document]:
    """`count` pieces of fit histories, `length` items long at most; loss on all of each but its first token.

    Every piece comes about equally often.
    """
    texts = []
    for example in dataset.fit_histories():
        for start in range(0, len(example.history), length):
            lines = [f"- {dataset.catalog[item].label}\n" for item in example.history[start : start + length]]
            texts.append("History\n" + "".join(lines))
    rng = np.random.default_rng((seed, 109))
    rounds = [rng.permutation(len(texts)) for _ in range(-(-count // len(texts)))]
    encoded = [tuple(codec.encode(texts[place])) for place in np.concatenate(rounds)[:count]]
    return [Document(ids, (0, *[1] * (len(ids) - 1))) for ids in encoded]
