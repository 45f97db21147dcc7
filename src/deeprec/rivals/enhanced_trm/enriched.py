"""Catalogue and histories with what was written added; the data's own parts stay as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from deeprec.data.catalog import Catalog
from deeprec.data.dataset import Dataset
from deeprec.progress import progress_bar
from deeprec.rivals.enhanced_trm.prompts import HISTORY, Prompts, read_phrases, read_title
from deeprec.rivals.enhanced_trm.writer import Writer
from deeprec.rivals.enhanced_trm.written import Question, WrittenTexts
from deeprec.settings.rivals import EnhancedTRMConfig
from deeprec.types import Example

PHRASES = 10  # of an item's text that are used, at most
AUGMENTED_ITEMS = 2  # that a short history gets, at most
_TITLE_TOKENS = 48
_TEXTS_TOGETHER = 64  # written, and saved


def write_features(
    catalog: Catalog, prompts: Prompts, written: WrittenTexts, writer: Writer, config: EnhancedTRMConfig
) -> list[dict[str, Any]]:
    """A row for every item, in the order of the catalogue: its text, and the `phrases` that are new in it."""
    questions = [Question(prompts.for_item(item), {"item_id": item.item_id}) for item in catalog.items]
    with progress_bar("Writing about items", len(questions)) as bar:
        rows = written.ask(questions, writer, config.feature_tokens, _TEXTS_TOGETHER, bar)
    return [
        {**row, "phrases": list(read_phrases(row["text"], item, PHRASES))}
        for row, item in zip(rows, catalog.items, strict=True)
    ]


def enrich(catalog: Catalog, rows: Sequence[Mapping[str, Any]]) -> Catalog:
    """The catalogue with the phrases of `write_features` among the categories; ids and labels stay.

    So everything that reads an item's text reads them: the text encoder, the item vectors, the fit.
    """
    phrases = {str(row["item_id"]): tuple(row["phrases"]) for row in rows}
    items = [
        replace(item, categories=(*item.categories, *phrases.get(item.item_id, ()))) for item in catalog.items
    ]
    return Catalog(tuple(items))


@dataclass(frozen=True)
class AugmentedDataset(Dataset):
    """A data set whose fit histories go on with written items.

    `added` maps users to item indices. They stand behind the user's own fit items, for a fit alone: no
    example of any other part has them in its history, and nothing is excluded for their sake.
    """

    added: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def fit_histories(self) -> list[Example]:
        """Each user's fit items, then the written ones, which have neither rating nor time."""
        found = []
        for example in super().fit_histories():
            items = self.added.get(example.user_id, ())
            if items:
                whole = example.history + items
                example = replace(example, history=whole, ratings=(), timestamps=())
            found.append(example)
        return found


@dataclass(slots=True)
class _Past:
    """A short history in the making, and what was asked and written about it."""

    user_id: str
    items: list[int]
    added: list[int] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    tokens: int = 0


def write_interactions(
    dataset: Dataset, prompts: Prompts, written: WrittenTexts, writer: Writer, config: EnhancedTRMConfig
) -> list[dict[str, Any]]:
    """For every short fit history the plausible next items: `user_id`, `items` (ids), `prompts`, `texts`, `tokens`.

    The writer is shown fit items alone, and an item is taken only if it occurs in the fit part of some
    user, so that nothing of the time of the held-out targets can enter by this way. (It may guess
    a user's target, as a model may.) A title that is unknown, known to the user already or not of
    that time is left out, and what was written is kept all the same.
    """
    histories = dataset.fit_histories()
    offered = {item for example in histories for item in example.history}
    short = [example for example in histories if len(example.history) < config.short_history]
    pasts = [_Past(example.user_id, list(example.history)) for example in short]
    with progress_bar("Writing next items", len(short) * AUGMENTED_ITEMS) as bar:
        for _ in range(AUGMENTED_ITEMS):
            # One whose last reply could not be used would only be asked the same again.
            open_pasts = [past for past in pasts if len(past.prompts) == len(past.added)]
            questions = [
                Question(
                    prompts.for_history(past.items[-HISTORY:], dataset.catalog),
                    {"user_id": past.user_id},
                )
                for past in open_pasts
            ]
            replies = written.ask(questions, writer, _TITLE_TOKENS, _TEXTS_TOGETHER, bar)
            for past, reply in zip(open_pasts, replies, strict=True):
                past.prompts.append(reply["prompt"])
                past.texts.append(reply["text"])
                past.tokens += reply["tokens"]
                item = read_title(reply["text"], dataset.catalog)
                is_new = dataset.allow_repeats or item not in past.items
                if item is not None and item in offered and is_new:
                    past.added.append(item)
                    past.items.append(item)
    return [_row(past, dataset.catalog) for past in pasts]


def _row(past: _Past, catalog: Catalog) -> dict[str, Any]:
    return {
        "user_id": past.user_id,
        "items": [catalog[item].item_id for item in past.added],
        "prompts": past.prompts,
        "texts": past.texts,
        "tokens": past.tokens,
    }


def added_items(rows: Sequence[Mapping[str, Any]], catalog: Catalog) -> dict[str, tuple[int, ...]]:
    """What `AugmentedDataset` takes, of the rows of `write_interactions`."""
    found = {}
    for row in rows:
        items = tuple(index for index in map(catalog.index_of, row["items"]) if index is not None)
        if items:
            found[str(row["user_id"])] = items
    return found
