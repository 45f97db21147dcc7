"""The presets for large policies: that they hang together, and that their page computes what it shows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from deeprec.config import RunConfig, load_config, preset_names
from deeprec.rl.trl import StagePlan

LARGE = [name for name in preset_names() if name.startswith("qwen")]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "gpu.md"


def test_every_size_has_a_preset_and_the_page_names_them() -> None:
    assert LARGE == ["qwen2.5-0.5b", "qwen2.5-1.5b", "qwen2.5-7b", "qwen2.5-7b-lora"]
    page = PAGE.read_text(encoding="utf-8")
    for name in LARGE:
        assert f"| `{name}` |" in page


@pytest.mark.parametrize("name", LARGE)
def test_sizes_divide_and_a_batch_holds_whole_groups(name: str) -> None:
    config = load_config(name)
    plan = StagePlan(config.rl, config.rl.cold_start, Path(), Path(), Path())
    assert plan.trajectories_per_pass == config.rl.trajectories_per_pass
    assert plan.trajectories_per_step % config.rollout.users_per_batch == 0
    assert config.rollout.users_per_batch % config.rl.rollouts_per_user == 0


@pytest.mark.parametrize("name", LARGE)
def test_small_updates_have_somewhere_to_go(name: str) -> None:
    """float32 weights, or adapters: those are float32. The published preset says that it has neither."""
    config = load_config(name)
    if name == "qwen2.5-7b":
        assert "round away" in preset_text(name)
    else:
        assert config.policy.lora_rank or (config.policy.dtype == "float32" and config.rl.autocast)
    assert config.rl.gradient_checkpointing
    assert config.engine.kind == "vllm"


@pytest.mark.parametrize("name", [*LARGE, "smollm2-135m"])
def test_a_policy_with_new_tags_is_taught_them_first(name: str) -> None:
    """Tags are new tokens of a loaded model: without a warm start it samples no valid trajectory."""
    warm_start = load_config(name).warm_start
    assert warm_start.enabled
    assert warm_start.script_steps * warm_start.trajectories_per_step >= 300
    assert warm_start.gradient_checkpointing


@pytest.mark.parametrize("name", LARGE)
def test_each_says_what_it_needs_and_that_it_was_not_run(name: str) -> None:
    text = preset_text(name)
    assert re.search(r"one GPU of\s+(#\s+)?\d+ GB", text)
    assert "Not run by us" in text


def test_adapters_differ_from_the_published_preset_only_where_they_must() -> None:
    published, adapters = (leaves(load_config(name)) for name in ("qwen2.5-7b", "qwen2.5-7b-lora"))
    assert {key for key in published if published[key] != adapters[key]} == {
        "policy.lora_rank", "rl.learning_rate", "rl.users_per_step", "rl.updates_per_step",
        "warm_start.learning_rate",
        "rollout.users_per_batch", "engine.vllm_memory",
    }  # fmt: skip


@pytest.mark.parametrize("block", [0, 1], ids=["memory", "rounding"])
def test_the_page_shows_what_its_code_prints(block: int) -> None:
    page = PAGE.read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[block]
    shown = re.findall(r"```text\n(.*?)```", page, re.DOTALL)[block]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(PAGE), "exec"), {})
    assert printed.getvalue() == shown


def preset_text(name: str) -> str:
    import deeprec

    return (Path(deeprec.__file__).parent / "presets" / f"{name}.toml").read_text(encoding="utf-8")


def leaves(config: RunConfig) -> dict[str, object]:
    found: dict[str, object] = {}

    def walk(values: dict, prefix: str) -> None:
        for key, value in values.items():
            if isinstance(value, dict) and key != "weights":
                walk(value, f"{prefix}{key}.")
            else:
                found[prefix + key] = value

    walk(config.model_dump(), "")
    return found
