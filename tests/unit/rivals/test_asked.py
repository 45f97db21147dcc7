"""The rule that asks the TRM, and what it is chosen by."""

from __future__ import annotations

from dataclasses import replace
from math import log
from pathlib import Path

import pytest
from small_world import build_dataset

from deeprec.config import RunConfig, TRMConfig
from deeprec.data.split import refit_data
from deeprec.errors import RunError
from deeprec.rivals.asked import TRM_ASKED, Asker, Rule, build_asker
from deeprec.run import Run
from deeprec.trm.base import ExplorableRetriever
from deeprec.trm.encoders import build_text_encoder
from deeprec.trm.kinds import build_retriever
from deeprec.types import Example

PHRASES = {1: ("Action",), 2: ("Action", "Crime"), 3: ("Comedy",), 4: ("Drama",)}
EVERYONE = {"Action": 0.25, "Crime": 0.25, "Comedy": 0.5, "Drama": 0.01}
DATASET = refit_data(build_dataset())


def ask(rule: Rule, *history: int) -> str | None:
    return Asker(rule, PHRASES, EVERYONE)(Example("u", history))


def test_what_stands_out_in_the_latest_items() -> None:
    """Of items 1, 2: Action 2/2 against 0.25, Crime 1/2 against 0.25; the Drama before is too old."""
    assert ask(Rule(2, 1, "everyone", 0.0), 4, 1, 2) == "Action"
    assert ask(Rule(2, 2, "everyone", 0.0), 4, 1, 2) == "Action; Crime"
    assert ask(Rule(3, 1, "everyone", 0.0), 4, 1, 2) == "Drama"


def test_what_stands_out_too_little_is_not_asked_for() -> None:
    by = 0.5 * log(0.5 / 0.25)  # Crime
    assert ask(Rule(2, 2, "everyone", by - 0.01), 1, 2) == "Action; Crime"
    assert ask(Rule(2, 2, "everyone", by + 0.01), 1, 2) == "Action"
    assert ask(Rule(2, 2, "everyone", 5.0), 1, 2) is None
    assert ask(Rule(2, 1, "everyone", 0.0), 3, 1, 3, 3) == "Comedy"
    assert ask(Rule(2, 1, "everyone", 0.0)) is None  # nothing known yet


def test_what_is_usual_for_the_user() -> None:
    """Who always takes Drama is not asked for it; the Comedy at last is new."""
    history = (4, 4, 4, 4, 4, 4, 3, 4)
    assert ask(Rule(2, 1, "everyone", 0.0), *history) == "Drama"
    assert ask(Rule(2, 1, "user", 0.0), *history) == "Comedy"


def test_shares_are_those_of_the_fit_part() -> None:
    """Item 28 to 30 are in the test part alone: their phrases are no more than possible."""
    asker = build_asker(Rule(1, 5, "everyone", 0.0), DATASET)
    assert asker(Example("u", (28,))) == asker(Example("u", (28,), target=3))
    fit = [item for example in DATASET.fit_histories() for item in example.history]
    share = sum(DATASET.catalog[item].categories[0] == "Action" for item in fit) / len(fit)
    assert asker._everyone["Action"] == pytest.approx(share, abs=0.02)
    assert 0 < asker._everyone["1990s"] < 0.35


def build_trm() -> ExplorableRetriever:
    config = TRMConfig(kind="item-knn", text_dim=8)
    return build_retriever(DATASET, config, build_text_encoder(config, DATASET.catalog))


def test_chosen_on_validation_saved_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deeprec.rivals.asked.LATEST", (2,))
    run = Run(tmp_path, RunConfig())
    trm = build_trm()
    facts = TRM_ASKED.fit(run, DATASET, trm, tmp_path)
    assert len(facts["tried"]) == 16
    assert facts["validation"]["ndcg@10"] == max(entry["ndcg@10"] for entry in facts["tried"])
    assert 0 <= facts["asked_share"] <= 1
    found = TRM_ASKED.load(run, DATASET, trm, tmp_path)
    examples = DATASET.examples("test")
    rankings = [answer.ranking for answer in found.recommend(examples, 5)]
    moved = [replace(example, target=0) for example in examples]
    assert [answer.ranking for answer in found.recommend(moved, 5)] == rankings
    (tmp_path / "rule.json").write_text('{"latest": 2}', encoding="utf-8")
    with pytest.raises(RunError, match=r"rule\.json: not readable .* run `deeprec rival fit trm-asked"):
        TRM_ASKED.load(run, DATASET, trm, tmp_path)
