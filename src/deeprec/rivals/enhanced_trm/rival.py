"""The TRM fitted with what a language model wrote, as the registry knows it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

from deeprec.config import TRMConfig
from deeprec.data.dataset import Dataset
from deeprec.disk import read_jsonl
from deeprec.errors import RunError
from deeprec.inputs import constants_of
from deeprec.methods import LLM_ENHANCED_TRM as NAME
from deeprec.recommender import Recommender
from deeprec.rivals.enhanced_trm import enriched, prompts
from deeprec.rivals.enhanced_trm.enriched import (
    AugmentedDataset,
    added_items,
    enrich,
    write_features,
    write_interactions,
)
from deeprec.rivals.enhanced_trm.prompts import Prompts, build_prompts
from deeprec.rivals.enhanced_trm.writer import load_writer, model_name, tiny_recipe, writer_key
from deeprec.rivals.enhanced_trm.written import WrittenTexts
from deeprec.rivals.registry import Rival, rival_inputs
from deeprec.run import Run, fingerprint
from deeprec.stages import RIVAL
from deeprec.trm.base import ExplorableRetriever
from deeprec.trm.kinds import NETWORK, NETWORKS
from deeprec.trm.recommender import TRMRecommender
from deeprec.types import Example

FEATURES, AUGMENTED = "item_features.jsonl", "augmented.jsonl"
_NEXT_ITEMS = "next_items.jsonl"
_SHOWN = 5  # latest items that `explain` shows the texts of


def _others(run: Run) -> dict[str, Any]:
    config = run.config.rivals.enhanced_trm
    return {
        "prompts": asdict(build_prompts(config)),
        "model": model_name(run.config),
        "writer": tiny_recipe(run.config) if config.model == "tiny" else None,
        "constants": constants_of(enriched, prompts),
    }


def trm_config(config: TRMConfig) -> TRMConfig:
    """The run's TRM, or ours where the run has another; without the preference branch, which nobody asks here."""
    changes: dict[str, Any] = {"preference_steps": 0, "periods_per_year": 0}
    if config.kind not in NETWORKS:
        changes |= {"kind": NETWORK, "vectors": None}
    return config.model_copy(update=changes)


def _fit(run: Run, dataset: Dataset, trm: ExplorableRetriever, folder: Path) -> dict[str, Any]:
    from deeprec.trm.encoders import build_text_encoder
    from deeprec.trm.resuming import FitLog
    from deeprec.trm.retriever import TRM
    from deeprec.trm.stage import fit_checkpoint, save_network
    from deeprec.trm.training import fit

    config = run.config.rivals.enhanced_trm
    features, augmented, facts = _write(run, dataset)
    _keep(folder, build_prompts(config), features, augmented)
    catalog = enrich(dataset.catalog, features)
    plain = {field.name: getattr(dataset, field.name) for field in fields(Dataset)}
    added = added_items(augmented, catalog)
    known = AugmentedDataset(**{**plain, "catalog": catalog}, added=added)
    started = time.monotonic()
    settings, seed = trm_config(run.config.trm), run.config.fit_seed
    cache = _work(run, dataset) / "vectors"
    encoder = build_text_encoder(settings, catalog, seed, cache)
    before = rival_inputs(run, NAME, ENHANCED_TRM).fingerprint
    inputs = fingerprint(before, known.fingerprint, sorted(added.items()))
    checkpoint = fit_checkpoint(run.rival(NAME), inputs)
    log = FitLog(run, RIVAL + NAME, checkpoint)
    fitted: TRM = fit(known, encoder, settings, seed=seed, log=log, checkpoint=checkpoint)
    save_network(fitted, folder / "trm", cache)
    facts["minutes_fit"] = round((time.monotonic() - started) / 60, 3)
    return facts | {
        "validation": {key: log.best[key] for key in ("epoch", "ndcg", "recall") if key in log.best}
    }


def _write(run: Run, dataset: Dataset) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """Texts of items, next items of short histories, and facts about both; nothing is asked twice."""
    config, started = run.config.rivals.enhanced_trm, time.monotonic()
    work, key = _work(run, dataset), writer_key(run, dataset)
    written = partial(WrittenTexts, model=key)
    prompts, catalog = build_prompts(config), dataset.catalog
    texts, nexts = written(work / FEATURES), written(work / _NEXT_ITEMS)
    writer = load_writer(run, dataset, work)
    features = write_features(catalog, prompts, texts, writer, config) if config.feature_tokens else []
    augmented = write_interactions(dataset, prompts, nexts, writer, config)
    new = [len(row["phrases"]) for row in features]
    lines = sum(len(row["texts"]) for row in augmented)
    inserted = sum(len(row["items"]) for row in augmented)
    facts = {
        "model": key,
        "items": catalog.n_items,
        "items_with_text": sum(bool(row["text"].strip()) for row in features),
        "items_with_new_phrases": sum(count > 0 for count in new),
        "new_phrases": sum(new),
        "short_histories": len(augmented),
        "histories_augmented": sum(bool(row["items"]) for row in augmented),
        "inserted": inserted,
        "valid_share": round(inserted / lines, 4) if lines else None,
        "tokens": sum(row["tokens"] for row in (*features, *augmented)),
        "minutes_writing": round((time.monotonic() - started) / 60, 3),
    }
    return features, augmented, facts


def _work(run: Run, dataset: Dataset) -> Path:
    """Where a writer's texts lie: one folder a writer, which a killed or a later fit finds again."""
    return run.rival(NAME).with_name(f"{NAME}.written") / writer_key(run, dataset).replace("/", "--")


def _keep(
    folder: Path,
    prompts: Prompts,
    features: Sequence[Mapping[str, Any]],
    augmented: Sequence[Mapping[str, Any]],
) -> None:
    """Prompts and texts beside the fitted model, for people to read and for loading."""
    (folder / "prompt_item.txt").write_text(prompts.item + "\n", encoding="utf-8")
    (folder / "prompt_history.txt").write_text(prompts.history + "\n", encoding="utf-8")
    for file, rows in ((FEATURES, features), (AUGMENTED, augmented)):
        lines = "".join(json.dumps(dict(row)) + "\n" for row in rows)
        (folder / file).write_text(lines, encoding="utf-8")


class EnhancedTRMRecommender(TRMRecommender):
    """The plain ranking of the TRM that was fitted with written texts."""

    def __init__(
        self,
        retriever: ExplorableRetriever,
        dataset: Dataset,
        features: Sequence[Mapping[str, Any]],
        augmented: Sequence[Mapping[str, Any]],
    ) -> None:
        super().__init__(retriever, dataset, NAME)
        self._features = {str(row["item_id"]): row for row in features}
        self._augmented = {str(row["user_id"]): row for row in augmented}

    def explain(self, example: Example) -> str:
        """What the writer was asked and wrote about the latest items, and about the user in the fit."""
        catalog = self.dataset.catalog
        lines = ["The language model wrote before the fit; it reads nothing now."]
        for index in example.history[-_SHOWN:]:
            item = catalog[index]
            row = self._features.get(item.item_id)
            if row is None:
                continue
            lines += [f"About {item.label}", *_asked(row["prompt"]), f"  wrote:{_spaced(row['text'])}"]
            lines.append(f"  new to the catalogue: {'; '.join(row['phrases']) or 'nothing'}")
        row = self._augmented.get(example.user_id)
        if row is None:
            lines.append(f"User {example.user_id}: the fit history is not short, so nothing was added to it")
        else:
            lines.append(f"User {example.user_id}: a short fit history")
            for prompt, text in zip(row["prompts"], row["texts"], strict=True):
                lines += [*_asked(prompt), f"  wrote:{_spaced(text)}"]
            labels = [catalog.items[(catalog.index_of(item) or 0) - 1].label for item in row["items"]]
            lines.append(f"  added for the fit: {'; '.join(labels) or 'nothing'}")
        lines.append("Ranks:")
        ranking = self.recommend([example])[0].ranking
        lines += [f"{place:3}. {catalog[item].label}" for place, item in enumerate(ranking, 1)]
        return "\n".join(lines)


def _asked(prompt: str) -> list[str]:
    return ["  asked:", *(f"    {line}" for line in prompt.splitlines())]


def _spaced(text: str) -> str:
    return f" {text.strip()}" if text.strip() else " (nothing)"


def _load(run: Run, dataset: Dataset, trm: ExplorableRetriever, folder: Path) -> Recommender:
    import torch

    from deeprec.trm.retriever import TRM

    for file in (FEATURES, AUGMENTED):
        if not (folder / file).is_file():
            raise RunError(f"{folder / file}: is gone; run `deeprec rival fit {NAME} --run {run.folder}`")
    features, augmented = read_jsonl(folder / FEATURES), read_jsonl(folder / AUGMENTED)
    catalog = enrich(dataset.catalog, features)
    fitted = TRM.load(folder / "trm", catalog, "cuda" if torch.cuda.is_available() else "cpu")
    return EnhancedTRMRecommender(fitted, dataset, features, augmented)


def _check(run: Run, dataset: Dataset, trm: ExplorableRetriever) -> None:
    from deeprec.rl.extras import require_extra

    build_prompts(run.config.rivals.enhanced_trm)
    if run.config.rivals.enhanced_trm.model == "tiny":  # it is taught first
        require_extra()


ENHANCED_TRM = Rival(
    summary="the TRM fitted with item texts and next items that a language model wrote",
    others=_others,
    fit=_fit,
    load=_load,
    check=_check,
)
