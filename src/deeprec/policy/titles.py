"""Whether a policy can write the catalogue's titles at all."""

from __future__ import annotations

from deeprec.data.catalog import Catalog
from deeprec.errors import PolicyError
from deeprec.rollout.codec import Codec
from deeprec.types import Item

_SHOWN = 3


def lost_titles(codec: Codec, catalog: Catalog) -> list[Item]:
    """Items whose label, encoded and decoded, is no longer theirs: no list that is written can name them."""
    return [
        item
        for item in catalog.items
        if catalog.resolve(codec.decode(codec.encode(item.label))) != item.item_index
    ]


def check_titles(codec: Codec, catalog: Catalog, model: str) -> None:
    """Raise PolicyError for titles that the tokenizer of `model` loses.

    Trained on them, a policy would be taught that what is right is wrong.
    """
    lost = lost_titles(codec, catalog)
    if lost:
        shown = "; ".join(
            f"{item.label!r} comes back as {codec.decode(codec.encode(item.label))!r}"
            for item in lost[:_SHOWN]
        )
        raise PolicyError(
            f"{model}: its tokenizer can't write {len(lost):,} of {catalog.n_items:,} titles ({shown}); take another "
            "model, titles that it can write (data.pseudonyms=true), or a list that is not written "
            "(rollout.list = 'masked' or 'retrieved')"
        )
