from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from deeprec.config import RunConfig, TRMConfig
from deeprec.data.catalog import Catalog
from deeprec.data.dataset import Dataset
from deeprec.disk import read_jsonl
from deeprec.errors import RetrievalError, RunError
from deeprec.run import Run
from deeprec.trm.model import PreferenceNetwork
from deeprec.trm.phrases import item_phrases
from deeprec.trm.retriever import TRM, build_network
from deeprec.trm.stage import load_trm, run_trm
from deeprec.types import Item


def _network(experts: int = 3) -> PreferenceNetwork:
    torch.manual_seed(0)
    config = TRMConfig(width=8, layers=2, experts=experts, history=6)
    return build_network(config, 10, 5).eval()


@pytest.mark.parametrize("experts", [1, 3])
def test_no_preference_is_exactly_the_plain_query(experts: int) -> None:
    network = _network(experts)
    states = torch.randn(4, 8)
    assert torch.equal(network.queries(states, torch.zeros(4, 2, 5)), network.queries(states))
    steered = network.queries(states, torch.ones(4, 2, 5))
    assert torch.equal(steered[:, :8], states)
    assert steered[:, 8:].any()


def test_empty_places_of_a_preference_say_nothing() -> None:
    network = _network()
    states, phrases = torch.randn(4, 8), torch.randn(4, 2, 5)
    padded = torch.cat([phrases, torch.zeros(4, 3, 5)], dim=1)
    torch.testing.assert_close(network.queries(states, padded), network.queries(states, phrases))


def test_states_see_no_later_item() -> None:
    encoder = _network().encoder
    table = torch.randn(11, 8)
    short = encoder.states(table, torch.tensor([[1, 2, 3]]))
    long = encoder.states(table, torch.tensor([[1, 2, 3, 9, 8]]))
    padded = encoder.states(table, torch.tensor([[1, 2, 3, 0, 0]]))
    torch.testing.assert_close(long[:, :4], short)
    torch.testing.assert_close(padded[:, :4], short)


@pytest.mark.parametrize("experts", [1, 3])
def test_item_table_is_id_plus_text_and_zero_for_padding(experts: int) -> None:
    encoder = _network(experts).encoder
    text = torch.randn(11, 5)
    text[0] = 0
    keep = torch.ones(11)
    keep[4] = 0
    table = encoder.item_table(text, keep)
    assert not table[0].any()
    torch.testing.assert_close(table[4], encoder.text_adaptor(text)[4])
    torch.testing.assert_close(table[5], encoder.ids.weight[5] + encoder.text_adaptor(text)[5])


def test_only_the_latest_items_are_read(small_trm: TRM) -> None:
    recent = list(range(1, 17))
    assert np.array_equal(small_trm.score([[40, 41, *recent]]), small_trm.score([recent]))


def test_saved_trm_scores_the_same(small_trm: TRM, small_dataset: Dataset, tmp_path: Path) -> None:
    small_trm.save(tmp_path)
    loaded = TRM.load(tmp_path, small_dataset.catalog)
    histories: list[list[int]] = [[1, 2, 3], []]
    wanted = [item_phrases(small_dataset.catalog[1])[0], None]
    assert np.array_equal(loaded.score(histories, wanted), small_trm.score(histories, wanted))
    assert np.array_equal(loaded.item_vectors(), small_trm.item_vectors())
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".safetensors"}


def test_checkpoint_of_another_catalogue_is_refused(small_trm: TRM, tmp_path: Path) -> None:
    small_trm.save(tmp_path)
    other = Catalog((Item(1, "a", "A", "A"),))
    with pytest.raises(RetrievalError, match=r"fitted on another catalogue \(80 items, .*here 1 items"):
        TRM.load(tmp_path, other)


def test_broken_checkpoints_are_refused(small_trm: TRM, small_dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match=r"no fitted TRM here"):
        TRM.load(tmp_path, small_dataset.catalog)
    small_trm.save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(RetrievalError, match=r"model\.safetensors: not readable"):
        TRM.load(tmp_path, small_dataset.catalog)
    facts = json.loads((tmp_path / "trm.json").read_text(encoding="utf-8"))
    del facts["catalog"]
    (tmp_path / "trm.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(RetrievalError, match=r"trm\.json: not readable"):
        TRM.load(tmp_path, small_dataset.catalog)


def test_width_must_be_a_multiple_of_heads() -> None:
    with pytest.raises(RetrievalError, match=r"trm\.width = 11: must be a multiple of 2"):
        build_network(TRMConfig(width=11), 5, 3)


def test_unwritable_checkpoint_leaves_no_half_stage(
    small_dataset: Dataset, small_config: TRMConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: TRM, folder: Path) -> None:
        (folder / "trm.json").write_text("{", encoding="utf-8")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TRM, "save", full)
    run = Run.create(
        tmp_path / "run", RunConfig(trm=small_config.model_copy(update={"epochs": 1, "preference_steps": 20}))
    )
    with pytest.raises(RunError, match="No space left on device"):
        run_trm(run, small_dataset)
    assert not run.trm.exists()
    assert "trm" not in run.finished()


def test_stage_fits_once_and_again_when_settings_change(
    small_dataset: Dataset, small_config: TRMConfig, tmp_path: Path
) -> None:
    config = RunConfig(trm=small_config.model_copy(update={"epochs": 1, "preference_steps": 20}))
    run = Run.create(tmp_path / "run", config)
    with pytest.raises(RunError, match="stage 'trm' has not been run; run `deeprec trm fit"):
        load_trm(run, small_dataset)
    first = run_trm(run, small_dataset)
    run_trm(run, small_dataset)
    assert len([r for r in read_jsonl(run.metrics) if r["stage"] == "trm"]) == 2  # one epoch, and preferences
    assert np.array_equal(load_trm(run, small_dataset).item_vectors(), first.item_vectors())
    longer = config.model_copy(update={"trm": config.trm.model_copy(update={"epochs": 2})})
    run_trm(Run.create(run.folder, longer), small_dataset)
    assert [r["epoch"] for r in read_jsonl(run.metrics) if "epoch" in r] == [1, 2]  # of this fit alone


def test_a_history_is_encoded_once_until_the_weights_change(
    small_trm: TRM, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_trm.forget_histories()
    encode, encoded = small_trm.network.encoder.states, []

    def counted(table: torch.Tensor, histories: torch.Tensor) -> torch.Tensor:
        encoded.append(len(histories))
        return encode(table, histories)

    monkeypatch.setattr(small_trm.network.encoder, "states", counted)
    first = small_trm.score([[1, 2], [3], [1, 2]])
    preference = item_phrases(small_trm.catalog.items[0])[0]
    again = small_trm.score([[3], [1, 2], [4, 1]], [preference, None, None])
    assert encoded == [2, 1]
    np.testing.assert_array_equal(again[1], first[0])
    assert (again[0] != first[1]).any()  # the preference still counts
    small_trm.refresh()
    np.testing.assert_allclose(small_trm.score([[1, 2]]), first[:1], atol=1e-5)
    assert encoded == [2, 1, 1]
