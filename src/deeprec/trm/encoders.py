"""The text encoder that the settings name, and the one that a TRM was saved with."""

from __future__ import annotations

from pathlib import Path

from deeprec.config import TRMConfig
from deeprec.data.catalog import Catalog
from deeprec.disk import read_json
from deeprec.errors import RetrievalError
from deeprec.trm.text import CachedEncoder, LsaEncoder, SentenceEncoder, item_text


def build_text_encoder(
    config: TRMConfig, catalog: Catalog, seed: int = 0, cache: Path | None = None
) -> CachedEncoder:
    """The encoder that the settings name; `lsa` is fitted on the catalogue's item texts.

    Raises ConfigError for a model that can't be read, MissingExtraError without the extra.
    """
    if config.text_encoder == "lsa":
        texts = [item_text(item) for item in catalog.items]
        return CachedEncoder(LsaEncoder.fit(texts, config.text_dim, seed))
    return CachedEncoder(SentenceEncoder(config.text_encoder), cache)


def load_text_encoder(folder: Path, cache: Path | None = None) -> CachedEncoder:
    """The encoder saved in `folder`; raises RetrievalError if it is missing or has changed."""
    from safetensors import SafetensorError

    file = folder / "encoder.json"
    try:
        facts = read_json(file)
        kind = facts["kind"]
        inner = LsaEncoder.load(folder, facts) if kind == "lsa" else SentenceEncoder(facts["name"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise RetrievalError(f"{file}: no readable text encoder ({error}); fit the TRM again") from None
    if inner.fingerprint != facts["fingerprint"]:
        raise RetrievalError(
            f"{file}: the text encoder '{facts.get('name', kind)}' is not the one that the TRM was fitted with "
            f"({inner.fingerprint}, expected {facts['fingerprint']}); fit the TRM again"
        )
    return CachedEncoder(inner, cache)
