"""The tiny policy reads fit histories before it learns to speak: which title comes next?

What it learns there is what `rollout.answer = "reranked"` asks of it. Scripts alone don't teach
it: they show as many histories in minutes as one epoch holds, and a small model needs ten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from deeprec.config import RunConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import ConfigError, RunError
from deeprec.policy.loading import load_policy
from deeprec.rivals.item_tokens.model import ItemModel
from deeprec.rivals.item_tokens.recommender import ItemTokensRecommender
from deeprec.rivals.item_tokens.training import fit_items
from deeprec.rivals.item_tokens.trie import Trie
from deeprec.rivals.item_tokens.vocabulary import ItemNames
from deeprec.rl.scripts import Document
from deeprec.rollout.codec import Codec, TokenizerCodec
from deeprec.rollout.lists import ListWriter
from deeprec.rollout.titles import TitleTexts
from deeprec.settings.rivals import ItemTokensConfig
from deeprec.trm.epochs import Log
from deeprec.types import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from deeprec.run import Run

READER = "reading"  # its folder, beside those of the stages


def read_histories(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Dataset,
    config: RunConfig,
    log: Log,
) -> None:
    """Train `model` in place as the rival `llm-title-tokens` is trained, by the defaults of that family.

    On `dataset.fit_histories()` alone, for `warm_start.reading_epochs` at most; the best epoch on
    validation users is kept. Raises ConfigError for a policy whose titles are several tokens.
    """
    texts = TitleTexts(TokenizerCodec(tokenizer), dataset.catalog)
    if not texts.is_compact:
        raise ConfigError(
            f"warm_start.reading_epochs = {config.warm_start.reading_epochs}: titles are several tokens of this "
            "policy; set it to 0, and warm_start.text_epochs to read histories as text"
        )
    codes = np.arange(-1, dataset.catalog.n_items, dtype=np.int64)[:, None]
    codes[0] = 0
    labels = tuple(item.label for item in dataset.catalog.items)
    names = ItemNames(codes, (labels,), start=tokenizer.eos_token)
    settings = ItemTokensConfig(
        history=config.rollout.reranker_history,
        epochs=config.warm_start.reading_epochs,
        max_minutes=config.warm_start.reading_minutes,
    )
    trie = Trie(codes)

    def recommender(shown: ItemModel) -> ItemTokensRecommender:
        return ItemTokensRecommender(
            "reading", shown, trie, dataset, history=settings.history, beams=settings.beams
        )

    items = ItemModel(model, tokenizer, names)
    fit_items(items, dataset, settings, recommender, seed=config.seed, log=log, title="Warm start: reading")


def build_lists(run: Run, dataset: Dataset, model: PreTrainedModel, codec: Codec) -> ListWriter:
    """What writes lists where `model` doesn't: by its own probabilities, or those of the policy as it had read.

    What reading taught does not outlive the scripts (docs/log.md), so the reranker keeps the weights
    from before them. Raises RunError where they are gone.
    """
    reader = load_reader(run, dataset, codec)
    if reader is not None:
        reader.to(model.device)
    return ListWriter(model, codec, dataset.catalog, reader)


def load_reader(run: Run, dataset: Dataset, codec: Codec) -> ListWriter | None:
    """The reranker alone, for a policy that is served elsewhere; None where the policy itself reranks, or nobody does.

    Raises RunError where its weights are gone.
    """
    config = run.config
    if config.rollout.answer != "reranked" or not config.warm_start.reads:
        return None
    folder = run.policy(READER)
    if not folder.is_dir():
        raise RunError(
            f"{folder}: is gone, and reranks for every policy of this run; run `deeprec policy init`"
        )
    whole = config.policy.model_copy(update={"lora_rank": 0})
    return ListWriter(load_policy(str(folder), whole)[0], codec, dataset.catalog)


def reading_documents(
    histories: Sequence[Example], dataset: Dataset, codec: Codec, length: int
) -> Iterator[Document]:
    """Histories as `TitleTexts` writes them, cut into pieces of `length` titles; loss on every title."""
    texts = TitleTexts(codec, dataset.catalog)
    for example in histories:
        for start in range(0, len(example.history), length):
            ids = texts.context(example.history[start : start + length])
            before = len(texts.start)
            yield Document(ids, (0,) * before + (1,) * (len(ids) - before))
