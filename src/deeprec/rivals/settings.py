"""Settings of the rivals: one group a family."""

from __future__ import annotations

from deeprec.section import Section


class PlainConfig(Section):
    """Baselines that read no text: item-kNN, EASE, ALS, and RecTools' transformers."""


class EnhancedTRMConfig(Section):
    """The TRM fitted with what a language model wrote about items and users."""


class OneShotConfig(Section):
    """A language model that ranks one retrieved list in one prompt."""


class ItemTokensConfig(Section):
    """A language model whose vocabulary is the catalogue."""


class RivalsConfig(Section):
    """The other families of recommenders, fitted by `deeprec rival fit`."""

    plain: PlainConfig = PlainConfig()
    enhanced_trm: EnhancedTRMConfig = EnhancedTRMConfig()
    one_shot: OneShotConfig = OneShotConfig()
    item_tokens: ItemTokensConfig = ItemTokensConfig()
