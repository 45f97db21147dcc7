"""Every setting changes the stages that it says it changes, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
from small_world import build_codec, build_dataset

from deeprec.config import RunConfig, load_config, override_config, parse_config
from deeprec.contents import model_files
from deeprec.data.stage import stage_inputs as data_inputs
from deeprec.errors import RunError
from deeprec.evaluation.stage import stage_inputs as evaluation_inputs
from deeprec.inputs import Inputs, constants_of
from deeprec.methods import RIVALS
from deeprec.policy import tokenizer
from deeprec.rivals.enhanced_trm.prompts import build_prompts
from deeprec.rivals.registry import Rival, find_rival, rival_inputs
from deeprec.rl import recipe
from deeprec.rl.stage import STARTS_FROM
from deeprec.rl.stage import stage_inputs as rl_inputs
from deeprec.rl.warm_start import reading_inputs
from deeprec.rl.warm_start import stage_inputs as warm_inputs
from deeprec.rollout import protocol
from deeprec.run import Run
from deeprec.settings.effect import READING, WRITER
from deeprec.settings.section import Section
from deeprec.stages import RIVAL
from deeprec.trm.stage import stage_inputs as trm_inputs

# Runs in which this and that is on, so that every setting counts in one of them.
RUNS = {
    "plain": (),
    "time": (
        "data.split=time",
        "trm.seed=3",
        "rl.autocast=true",
        "rl.recommendation.learning_rate=1e-3",
        "wishes.share=0.25",
    ),
    "reads": (
        "rollout.list=masked",
        "rl.cold_start.patience=2",
        "rl.recommendation.patience=2",
        "warm_start.reading_epochs=2",
        "engine.kind=vllm",
    ),
    "llm": ("policy.model=org/model", "rollout.template=full", "rivals.enhanced_trm.model=org/writer"),
    "off": ("warm_start.enabled=false", "evaluation.sampled=false", "engine.context=900"),
}
# Another value where none can be told from the present one.
OTHERS: dict[str, Any] = {
    "data.time_cuts": (date(2001, 1, 1), date(2002, 1, 1), date(2003, 1, 1)),
    "data.name": "ml-100k",
    "rollout.prompt_fields": ("year",),
    "rollout.list_fields": ("year",),
    "evaluation.methods": ("trm",),
    "trm.kind": "popularity",
    "trm.periods_per_year": 12,
    "rl.collapse": {"entropy": 0.02},
    "rl.cold_start.weights": {"format": 2.0},
    "rl.recommendation.weights": {"hit": 2.0},
}
SETTINGS = {setting.path: setting for setting in RunConfig.settings()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder in which what rivals start from is finished."""
    run = Run.create(tmp_path_factory.mktemp("runs") / "run", RunConfig())
    for stage in ("data", "trm", f"{RIVAL}trm-enhanced-llm-sft"):
        run.finish(stage, "before", 0.0)
    return run.folder


def fingerprints(config: RunConfig, folder: Path) -> dict[str, str]:
    """Of every stage, with the same data and the same stages before it."""
    run, dataset = Run(folder, config), build_dataset()
    found = {
        "data": data_inputs(config),
        "trm": trm_inputs(run, dataset),
        "warm_start": warm_inputs(config, "before"),
        "evaluation": evaluation_inputs(run, dataset, "test", ["trm"]),
        **{stage: rl_inputs(config, dataset, stage, "before") for stage in STARTS_FROM},
        **{RIVAL + name: rival_inputs(run, name, find_rival(name)) for name in RIVALS},
    }
    if config.warm_start.reads:
        found[READING] = reading_inputs(config, dataset, build_codec().tokenizer)
    return {stage: inputs.fingerprint for stage, inputs in found.items()}


def declared(path: str, *configs: RunConfig) -> set[str]:
    stages = {
        "data",
        "trm",
        "warm_start",
        "evaluation",
        READING,
        *STARTS_FROM,
        *(RIVAL + n for n in RIVALS),
    }
    return {
        stage
        for stage in stages
        for effect in SETTINGS[path].effects
        if any(effect.enters(stage, config) for config in configs)
    }


def changed(config: RunConfig, path: str, folder: Path) -> RunConfig:
    """The same settings with another value of one."""
    if path.endswith("_prompt"):  # a file with the very text that is there without it
        (folder / path).write_text(
            getattr(build_prompts(config.rivals.enhanced_trm), path.split(".")[-1][:-7])
        )
        return override_config(config, [f"{path}={folder / path}"])
    values = config.model_dump()
    *parents, leaf = path.split(".")
    place = reduce(getitem, parents, values)
    for value in [OTHERS[path]] if path in OTHERS else candidates(place[leaf], path):
        place[leaf] = value
        try:
            return parse_config(values, "test")
        except ValueError:
            continue
    raise AssertionError(f"no other value of {path} is allowed")


def candidates(value: Any, path: str) -> Iterator[Any]:
    field = SETTINGS[path].field
    words = re.findall(r"'([\w-]+)'", str(field.annotation))
    words += [name for entry in field.metadata for name in getattr(getattr(entry, "func", None), "names", ())]
    yield from (word for word in words if word != value)
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value + 1, value / 2, value * 2)
    elif isinstance(value, dict):
        yield {"title": "name"}
    elif isinstance(value, tuple):
        yield from (value[:-1], (*value, value[-1] / 2), (*value[:-1], value[-1] / 2))
    elif isinstance(value, str):
        yield f"{value}x"
    yield from (1, 0.5, "x", ("x",))


@pytest.mark.parametrize("name", RUNS)
def test_each_setting_makes_stale_what_it_declares(name: str, folder: Path) -> None:
    config = load_config(overrides=RUNS[name])
    before = fingerprints(config, folder)
    wrong = {}
    for path in SETTINGS:
        other = changed(config, path, folder)
        after = fingerprints(other, folder)
        both = before.keys() & after.keys()  # a run that reads no histories has no reader
        stale = {stage for stage in both if before[stage] != after[stage]}
        expected = declared(path, config, other) & both
        if stale != expected:
            wrong[path] = (sorted(stale), sorted(expected))
    assert wrong == {}


def test_every_setting_counts_in_some_run() -> None:
    """But for those that say that nothing kept depends on them."""
    configs = [load_config(overrides=settings) for settings in RUNS.values()]
    silent = {path for path in SETTINGS if not declared(path, *configs)}
    noted = {path for path, setting in SETTINGS.items() if all(effect.note for effect in setting.effects)}
    assert silent == noted
    assert {"rl.gradient_checkpointing", "rollout.users_per_batch", "serve.queue", "data.source"} <= noted


def test_a_setting_without_an_effect_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Forgetful\.size: say what it changes"):

        class Forgetful(Section):
            size: int = 3


def test_a_run_of_several_policy_seeds_shares_its_trm() -> None:
    one = load_config(overrides=["seed=4"])
    other = load_config(overrides=["seed=7", "trm.seed=4"])
    assert one.identity("trm") == other.identity("trm")
    assert one.identity("warm_start") != other.identity("warm_start")


# What the code puts in: each edit, and the stages that it makes stale.
POLICIES = {"warm_start", "cold_start", "recommendation", "evaluation"}
REWARDED = {"cold_start", "recommendation", "evaluation", f"{RIVAL}trm-enhanced-llm"}
ONE_SHOT = {f"{RIVAL}trm-enhanced-llm-sft"}
TINY = {"warm_start", *ONE_SHOT, f"{RIVAL}llm-enhanced-trm"}  # with a tokenizer, or weights, made on the spot
EDITS = {
    "prompt": ("deeprec.rollout.protocol._COMPACT", "Past\n{history}\n{t.begin_think}\n{profile}", POLICIES),
    "one-shot prompt": (
        "deeprec.rivals.one_shot.prompts._COMPACT",
        "{profile}Past\n{history}{items}",
        ONE_SHOT,
    ),
    "script": ("deeprec.rl.scripts._CLOSING", "Rank now.", TINY),
    "share of open preferences": ("deeprec.rl.scripts.OPEN_SHARE", 0.5, {"warm_start"}),
    "pieces": ("deeprec.policy.tokenizer._YEAR_REPEATS", 1, TINY),
    "copying": ("deeprec.policy.tiny._COPY_GAIN", 1.0, TINY),
    "format": ("deeprec.rewards.process.FORMAT_PENALTY", -2.0, {"cold_start", "evaluation"}),
    "invocations": ("deeprec.rewards.process.INVOCATIONS_REWARDED", 4, {"cold_start", "evaluation"}),
    "invocation": ("deeprec.rewards.process.INVOCATION_STEP", 0.4, {"cold_start", "evaluation"}),
    "diversity": ("deeprec.rewards.process.DIVERSITY_SCALE", 0.1, {"cold_start", "evaluation"}),
    "list": ("deeprec.rewards.outcome.LIST_PENALTY", -2.0, REWARDED - {"cold_start"}),
    "hit": ("deeprec.rewards.outcome.HIT", 2.0, REWARDED - {"cold_start"}),
    "rank": ("deeprec.rewards.outcome.RANK_SCALE", 0.1, REWARDED - {"cold_start"}),
    "similarity": ("deeprec.rewards.outcome.SIMILARITY_SCALE", 5.0, REWARDED - {"cold_start"}),
    "TRM": ("deeprec.trm.steering._BASIS_PULL", 0.1, {"trm"}),
    "rule": ("deeprec.rivals.asked._DAMPING", 2.0, {f"{RIVAL}trm-asked"}),
}


def forget() -> None:
    """As another version of the code would start."""
    for worked_out in (recipe._scripts, recipe._rewards, recipe.tokenizer):
        worked_out.cache_clear()


@pytest.mark.parametrize(("target", "value", "stages"), EDITS.values(), ids=EDITS)
def test_an_edited_text_or_constant_makes_its_stages_stale(
    target: str, value: object, stages: set[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprints(RunConfig(), folder)
    with monkeypatch.context() as patch:
        patch.setattr(target, value)
        forget()
        after = fingerprints(RunConfig(), folder)
    forget()
    assert {stage for stage in before if before[stage] != after[stage]} == stages


# A part of one's own each: what names it, and the stages that an edit of its module makes stale.
OWN = {
    "my_rewards": ("rl.recommendation.weights={hit=1.0, 'my_rewards:part'=0.5}", REWARDED - {"cold_start"}),
    "my_engines": (
        "engine.kind=my_engines:build",
        {"cold_start", "recommendation", f"{RIVAL}trm-enhanced-llm"},
    ),
    "my_readers": ("data.name=my_readers:read", {"data"}),
    "my_trms": ("trm.kind=my_trms:build", {"trm"}),
}


@pytest.mark.parametrize("module", OWN)
def test_an_edited_module_of_ones_own_makes_its_stages_stale(
    module: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting, stages = OWN[module]
    (tmp_path / f"{module}.py").write_text("HOW = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = load_config(overrides=[setting])
    before = fingerprints(config, folder)
    (tmp_path / f"{module}.py").write_text("HOW = 2\n")
    after = fingerprints(config, folder)
    assert {stage for stage in before if before[stage] != after[stage]} == stages


def test_a_reward_of_ones_own_that_is_only_logged_makes_no_training_stale(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_watched.py").write_text("HOW = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = load_config(overrides=["rl.recommendation.weights={hit=1.0, 'my_watched:part'=0.0}"])
    before = fingerprints(config, folder)
    (tmp_path / "my_watched.py").write_text("HOW = 2\n")
    after = fingerprints(config, folder)
    assert {stage for stage in before if before[stage] != after[stage]} == {"evaluation"}  # which shows it


def test_an_edited_rival_of_ones_own_is_stale(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_rivals.py").write_text("HOW = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    run, rival = Run(folder, RunConfig()), Rival("mine", lambda run: {}, lambda *_: {}, lambda *_: None)  # type: ignore[arg-type, return-value]
    before = rival_inputs(run, "my_rivals:EASE", rival)
    (tmp_path / "my_rivals.py").write_text("HOW = 2\n")
    after = rival_inputs(run, "my_rivals:EASE", rival)
    assert before.fingerprint != after.fingerprint
    assert before.others.keys() == {"data", "TRM", "your_rival"}


# What names a model, and the stages that another model in the same folder makes stale.
MODELS = {
    "policy.model": {READING, "warm_start", *ONE_SHOT},
    "trm.text_encoder": {"trm"},
    "rivals.item_tokens.model": {f"{RIVAL}llm-title-tokens", f"{RIVAL}llm-semantic-ids"},
    "rivals.enhanced_trm.model": {f"{RIVAL}llm-enhanced-trm"},
}


@pytest.mark.parametrize("setting", MODELS)
def test_another_model_in_the_same_folder_makes_its_stages_stale(
    setting: str, folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "model"
    place.mkdir()
    for name in ("config.json", "model.safetensors", "README.md"):
        (place / name).write_text("1")
    config = load_config(
        overrides=[f"{setting}={place}", "rollout.list=masked", "warm_start.reading_epochs=2"]
    )
    before = fingerprints(config, folder)
    (place / "README.md").write_text("2")
    assert fingerprints(config, folder) == before
    (place / "model.safetensors").write_text("2")
    after = fingerprints(config, folder)
    assert {stage for stage in before if before[stage] != after[stage]} == MODELS[setting]
    moved = place.rename(tmp_path / "moved")
    assert model_files(str(moved)).keys() == {"config.json", "model.safetensors"}


def test_a_reward_that_weighs_nothing_does_not_count() -> None:
    weighed = recipe.rewards({"format": 1.0})
    assert recipe.rewards({"format": 1.0, "hit": 0.0}) == weighed
    assert recipe.rewards({"format": 1.0, "hit": 1.0}) != weighed


def test_constants_are_those_of_the_module_and_plain() -> None:
    found = constants_of(tokenizer, protocol)
    assert found["tokenizer._YEARS"] == 200
    assert found["protocol._NUMBER"] == r"^\s*\d+\s*[.)]\s*"
    assert found["protocol.TAGS"]["end_think"] == "</think>"
    assert not any("Sequence" in name or "BPE" in name for name in found)


def test_a_stage_that_is_made_again_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run.create(tmp_path / "run", RunConfig())
    warm_inputs(run.config, "one").finish(run, 1.0)
    other = override_config(run.config, ["rollout.history=7", "policy.width=32"])
    warm_inputs(other, "two").begin(run)
    (record,) = caplog.records
    assert record.message.startswith(
        "stage 'warm_start' is made again: policy.width was 96, is 32; rollout.history "
    )
    assert "rollout.history was 20, is 7" in record.message
    assert record.message.endswith("TRM changed")
    assert "warm_start" not in run.finished()


def test_what_an_earlier_version_finished_is_not_thrown_away_unasked(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", RunConfig())
    run.finish("trm", "of-then", 90.0)
    with pytest.raises(
        RunError, match=r"stage 'trm' was finished by an earlier version of deeprec.*choose another folder"
    ):
        Inputs.of(run.config, "trm").begin(run)
    assert "trm" in run.finished()
    run.finish("evaluation", "of-then", 1.0)
    Inputs.of(run.config, "evaluation").begin(run)  # minutes, not hours
    assert "evaluation" not in run.finished()


def test_the_tiny_writers_settings_are_among_its_rivals() -> None:
    config = RunConfig()
    assert config.identity(WRITER).items() <= config.identity(f"{RIVAL}llm-enhanced-trm").items()
    assert "rivals.enhanced_trm.feature_tokens" not in config.identity(WRITER)
