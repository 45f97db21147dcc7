"""Supervised training on masked documents: what it learns from, and how it resumes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from small_world import build_codec, build_dataset, settings
from transformers import Qwen2ForCausalLM

from deeprec.config import PolicyConfig, WarmStartConfig, load_config
from deeprec.disk import append_jsonl, read_jsonl
from deeprec.errors import TrainingError
from deeprec.policy.tiny import build_tiny
from deeprec.rl.documents import Document, fact_documents, history_documents
from deeprec.rl.supervised import StepLog, batched_by_length, collate, fit_documents
from deeprec.run import Run

Log = Callable[[dict[str, float]], None]


class Interrupted(Exception):  # noqa: N818
    """As if the machine had gone down."""


def build_model() -> Qwen2ForCausalLM:
    sizes = PolicyConfig(width=16, heads=2, key_value_heads=1, inner=32, layers=1)
    return build_tiny(sizes, build_codec().tokenizer, 0)


def fit(
    folder: Path,
    documents: Sequence[Document],
    *,
    epochs: int = 1,
    log: Log = lambda figures: None,
    model: Qwen2ForCausalLM | None = None,
    **changes: object,
) -> Qwen2ForCausalLM:
    model = model or build_model()
    config = WarmStartConfig(**{"trajectories_per_step": 4, "learning_rate": 1e-2, **changes})
    fit_documents(
        model, documents, pad_id=0, epochs=epochs, config=config, seed=7, folder=folder, title="", log=log
    )
    shutil.rmtree(folder, ignore_errors=True)  # as whoever saves the model does
    return model


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(left, right) for left, right in pairs)


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    """38 short texts: nine steps of four, and two documents over."""
    dataset = build_dataset()
    return fact_documents(dataset.catalog, build_codec()) + history_documents(
        dataset, build_codec(), settings(history=8)
    )


class TestLearning:
    def test_the_loss_falls(self, documents: list[Document], tmp_path: Path) -> None:
        losses: list[float] = []
        fit(tmp_path / "c", documents, epochs=8, log=lambda figures: losses.append(figures["loss"]))
        assert len(losses) > 10
        assert losses[-1] < 0.6 * losses[0]

    def test_the_first_loss_is_the_mean_over_wanted_tokens(self, tmp_path: Path) -> None:
        rows = [Document((5, 9, 11, 4), (0, 1, 0, 1)), Document((5, 7), (0, 1))] * 2
        losses: list[float] = []
        model = build_model()
        with torch.no_grad():
            chances = [model(torch.tensor([row.ids])).logits[0].log_softmax(-1) for row in rows[:2]]
        wanted = [chances[0][0, 9], chances[0][2, 4], chances[1][0, 7]]
        fit(tmp_path / "c", rows, log=lambda figures: losses.append(figures["loss"]), model=model)
        assert losses[0] == pytest.approx(-float(torch.stack(wanted).mean()), abs=1e-4)

    def test_only_wanted_tokens_are_learned(self, tmp_path: Path) -> None:
        """The last token is nobody's context: masked out, it may be anything."""

        def rows(last: int, mask: int) -> list[Document]:
            return [Document((5, 9, 11, last), (0, 1, 1, mask))] * 8

        masked = [fit(tmp_path / "c", rows(last, 0)) for last in (20, 21)]
        wanted = [fit(tmp_path / "c", rows(last, 1)) for last in (20, 21)]
        assert same_weights(*masked)
        assert not same_weights(*wanted)
        assert not same_weights(masked[0], build_model())

    def test_padding_changes_nothing(self, tmp_path: Path) -> None:
        rows = [Document((5, 9, 11, 4), (0, 1, 0, 1)), Document((5, 7), (0, 1))] * 4
        models = []
        for pad in (0, 33):
            model = build_model()
            fit_documents(
                model, rows, pad_id=pad, epochs=1, config=WarmStartConfig(trajectories_per_step=4), seed=7,
                folder=tmp_path / "c", title="", log=lambda figures: None,
            )  # fmt: skip
            models.append(model)
        assert same_weights(*models)

    def test_nothing_to_learn_changes_nothing(self, documents: list[Document], tmp_path: Path) -> None:
        assert same_weights(fit(tmp_path / "c", []), build_model())
        assert same_weights(fit(tmp_path / "c", documents, epochs=0), build_model())

    def test_fewer_documents_than_a_step_are_refused(self, documents: list[Document], tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match=r"3 documents don't fill one step.*trajectories_per_step"):
            fit(tmp_path / "c", documents[:3])


class TestResuming:
    @pytest.mark.parametrize("torn", [False, True])
    def test_an_interrupted_run_ends_as_the_uninterrupted_one(
        self, documents: list[Document], tmp_path: Path, torn: bool, capfd: pytest.CaptureFixture[str]
    ) -> None:
        steps: list[float] = []

        def stop(figures: dict[str, float]) -> None:
            if figures["step"] >= 60:  # the checkpoint is of step 50
                raise Interrupted

        whole = fit(tmp_path / "whole", documents, epochs=9)
        with pytest.raises(Interrupted):
            fit(tmp_path / "c", documents, epochs=9, log=stop)
        assert (tmp_path / "c" / "checkpoint-50").is_dir()
        if torn:  # the machine went down while it wrote the next one
            (tmp_path / "c" / "checkpoint-60").mkdir()
        resumed = fit(tmp_path / "c", documents, epochs=9, log=lambda figures: steps.append(figures["step"]))
        assert min(steps) > 50
        assert same_weights(whole, resumed)
        assert not (tmp_path / "c").exists()
        assert "".join(capfd.readouterr()) == ""  # the library is silent

    def test_the_seed_decides(self, documents: list[Document], tmp_path: Path) -> None:
        assert same_weights(fit(tmp_path / "c", documents), fit(tmp_path / "c", documents))


class TestDivergence:
    def test_a_loss_that_is_not_a_number(self, documents: list[Document], tmp_path: Path) -> None:
        model = build_model()
        with torch.no_grad():
            model.model.norm.weight.fill_(float("nan"))
        with pytest.raises(
            TrainingError, match=r"the loss is nan at step 1; lower warm_start\.learning_rate"
        ):
            fit(tmp_path / "c", documents, model=model)

    def test_weights_that_break_behind_the_last_loss(self, documents: list[Document], tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match="a weight is not a finite number at step 2"):
            fit(tmp_path / "c", documents[:8], learning_rate=1e39)


class TestBatches:
    def test_neighbours_are_alike_and_all_appear_once(self) -> None:
        rows = [Document((1,) * length, (0,) * length) for length in range(1, 43)]
        order = batched_by_length(rows, 4, seed=0)
        assert len(order) == 40
        lengths = [len(row.ids) for row in order]
        assert len(set(lengths)) == 40
        for start in range(0, 40, 4):
            batch = lengths[start : start + 4]
            assert max(batch) - min(batch) == 3
        assert lengths != sorted(lengths)
        assert order == batched_by_length(rows, 4, seed=0) != batched_by_length(rows, 4, seed=1)

    def test_collate(self) -> None:
        batch = collate([Document((5, 6, 7), (0, 1, 0)), Document((8,), (0,))], pad_id=2)
        assert {name: rows.tolist() for name, rows in batch.items()} == {
            "input_ids": [[5, 6, 7], [8, 2, 2]],
            "attention_mask": [[1, 1, 1], [1, 0, 0]],
            "wanted": [[0, 1, 0], [0, 0, 0]],
        }


def test_checkpointed_activations_are_computed_again_and_give_the_same_weights(
    tmp_path: Path, documents: list[Document]
) -> None:
    trained, passes = [], []
    for checkpointing in (False, True):
        model, calls = build_model(), []
        handle = model.model.layers[0].self_attn.register_forward_hook(
            lambda *_, calls=calls: calls.append(1)
        )
        fit(tmp_path, documents[:4], model=model, gradient_checkpointing=checkpointing)
        handle.remove()
        trained.append(model)
        passes.append(len(calls))
    assert passes == [1, 2]
    assert same_weights(*trained)


def test_a_text_beyond_the_models_positions_is_refused_before_training(tmp_path: Path) -> None:
    sizes = PolicyConfig(width=16, heads=2, key_value_heads=1, inner=32, layers=1, context=64)
    model = build_tiny(sizes, build_codec().tokenizer, 0)
    whole, long = (Document((5,) * count, (0,) + (1,) * (count - 1)) for count in (64, 65))
    fit(tmp_path / "whole", [whole] * 4, model=model)
    told = r"a text has 65 tokens, and the policy reads 64 at most; lower rollout\.history"
    with pytest.raises(TrainingError, match=told):
        fit(tmp_path / "long", [*[whole] * 3, long], model=model)


def test_each_step_is_logged_once_however_often_it_is_killed(tmp_path: Path) -> None:
    run, work = Run.create(tmp_path / "run", load_config()), tmp_path / "checkpoints"
    for stage, step in (("writer", 1), ("writer", 2), ("trm", 1)):
        append_jsonl(run.metrics, {"stage": stage, "step": step})

    def steps(stage: str) -> list[int]:
        return [row["step"] for row in read_jsonl(run.metrics) if row["stage"] == stage]

    work.mkdir()
    log = StepLog(run, "writer", work)  # from a checkpoint of step 1: step 2 comes again
    for step in (2, 3):
        log({"step": step})
    assert steps("writer") == [1, 2, 3]
    work.rmdir()
    StepLog(run, "writer", work)({"step": 1})  # with nothing to go on from it is another fit
    assert steps("writer") == [1]
    assert steps("trm") == [1]
