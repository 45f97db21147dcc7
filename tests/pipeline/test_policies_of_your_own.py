"""RL on policies other than the tiny one: LoRA adapters, bfloat16 arithmetic, and vLLM."""

from __future__ import annotations

import math
import os
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
from safetensors.numpy import load_file

from deeprec.config import override_config
from deeprec.disk import read_jsonl
from deeprec.policy.loading import load_policy
from deeprec.rl.stage import run_rl
from deeprec.run import Run

STAGES = ("cold_start", "recommendation")
SHORT = ("rl.cold_start.steps=2", "rl.recommendation.steps=2", "rl.evaluate_every=2", "rl.evaluate_users=8")


def train(run: Run, parts: tuple) -> dict[str, list[dict]]:
    """Both stages with real held-out figures; the rows of metrics by stage."""
    from deeprec.evaluation.heldout import build_heldout

    for stage in STAGES:
        run_rl(run, *parts, stage, build_heldout(run, *parts, stage))
    rows = read_jsonl(run.metrics)
    return {stage: [row for row in rows if row["stage"] == stage] for stage in STAGES}


def weights(run: Run, stage: str) -> dict[str, np.ndarray]:
    return load_file(run.policy(stage) / "model.safetensors")


def assert_sound(rows: dict[str, list[dict]]) -> None:
    for stage in STAGES:
        assert [row["step"] for row in rows[stage]] == [0, 1, 2]
        for row in rows[stage]:
            assert all(math.isfinite(value) for key, value in row.items() if key != "stage")


def test_adapters_go_through_both_stages(copy_run, load_parts):
    """As in the preset for LoRA: gradient checkpointing, and a merged policy after each stage."""
    run = copy_run("lora", *SHORT, "policy.lora_rank=4", "rl.gradient_checkpointing=true")
    assert_sound(train(run, load_parts(run)))
    started, first, second = (weights(run, stage) for stage in ("warm_start", *STAGES))
    assert started.keys() == first.keys() == second.keys()  # merged: an ordinary model
    for before, after in ((started, first), (first, second)):
        moved = {name for name in before if (before[name] != after[name]).any()}
        assert any("q_proj" in name for name in moved)
        assert any("embed_tokens" in name for name in moved)
        assert not any("norm" in name or "bias" in name for name in moved)
    embedded = np.flatnonzero(
        (started["model.embed_tokens.weight"] != second["model.embed_tokens.weight"]).any(1)
    )
    policy = load_policy(str(run.policy("recommendation")), run.config.policy)
    assert set(embedded) <= set(policy.tokenizer.added_tokens_decoder)  # tags alone
    assert policy.model.config.vocab_size == len(started["model.embed_tokens.weight"])


def test_autocast_trains_float32_weights(copy_run, load_parts):
    run = copy_run("autocast", *SHORT, "rl.autocast=true", "rl.learning_rate=1e-6")
    assert_sound(train(run, load_parts(run)))
    before, after = weights(run, "warm_start"), weights(run, "recommendation")
    assert {values.dtype for values in after.values()} == {np.dtype(np.float32)}
    moved = np.concatenate([(before[name] != after[name]).ravel() for name in before])
    print(f"moved: {moved.mean():.1%}")
    assert moved.mean() > 0.5  # such a small rate moves few bfloat16 weights


@pytest.mark.slow
@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
@pytest.mark.filterwarnings("default")
def test_both_stages_on_vllm(copy_run, load_parts, tmp_path):
    from deeprec.rl.warm_start import run_warm_start

    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
    base = copy_run("base", *SHORT, "policy.heads=1", "policy.key_value_heads=1")  # heads of 32 at least
    run_warm_start(base, *load_parts(base))
    for rank in (0, 4):
        runs = []
        for kind in ("local", "vllm"):
            changes = [f"policy.lora_rank={rank}", f"engine.kind={kind}", "engine.vllm_memory=0.2"]
            folder = shutil.copytree(base.folder, tmp_path / f"{kind}-{rank}")
            runs.append(Run.create(folder, override_config(base.config, changes)))
        compare(runs[1], *(train(run, load_parts(run)) for run in runs))


def compare(run: Run, expected: dict[str, list[dict]], found: dict[str, list[dict]]) -> None:
    """What a run on vLLM logged beside what the same run on the local engine did."""
    assert_sound(found)
    # The same policy, greedy, on the same users: the same figures on either engine.
    heldout = {key for key in expected["cold_start"][0] if key.startswith("heldout/")}
    assert {"heldout/ndcg@10", "heldout/validity"} <= heldout
    for key in heldout:
        assert found["cold_start"][0][key] == pytest.approx(expected["cold_start"][0][key], abs=1e-4), key
    print({key: round(found["cold_start"][0][key], 4) for key in sorted(heldout)})
    for stage, before in zip(STAGES, ("warm_start", "cold_start"), strict=True):
        for name, rows in (("local", expected[stage]), ("vllm", found[stage])):
            print(
                stage, name, [{key: round(row[key], 3) for key in ("reward", "validity")} for row in rows[1:]]
            )
        assert all(row["validity"] > 0 for row in found[stage][1:])
        old, new = weights(run, before), weights(run, stage)
        assert any((old[name] != new[name]).any() for name in old)
