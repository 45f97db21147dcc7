"""Settings: who wins, what is refused, and that a saved run reads back the same."""

from __future__ import annotations

import os
import tomllib
from functools import reduce
from operator import getitem
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeprec.config import RunConfig, load_config, override_config, parse_config, preset_names
from deeprec.errors import ConfigError
from deeprec.toml import to_toml, toml_value


def test_defaults_stand_when_nothing_is_given() -> None:
    assert load_config() == RunConfig()


def test_later_wins(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("seed = 5\n[trm]\nwidth = 32\nlayers = 1\n")
    config = load_config(file=file, overrides=["trm.width=16", "trm.width=24"])
    assert (config.seed, config.trm.width, config.trm.layers) == (5, 24, 1)
    assert config.trm.epochs == RunConfig().trm.epochs


def test_a_file_wins_over_a_preset(tmp_path: Path) -> None:
    preset = load_config("ci")
    file = tmp_path / "mine.toml"
    file.write_text(f"[trm]\nepochs = {preset.trm.epochs + 7}\n")
    mixed = load_config("ci", file)
    assert mixed.trm.epochs == preset.trm.epochs + 7
    assert mixed.rl == preset.rl


def test_override_values_are_toml_and_a_bare_word_is_text() -> None:
    config = load_config(
        overrides=[
            "data.name=ml-100k",
            'data.source="a b.zip"',
            "rl.learning_rate=1e-5",
            "rollout.new_items_only=true",
            'rollout.prompt_fields=["year"]',
        ]
    )
    assert config.data.name == "ml-100k"
    assert config.data.source == "a b.zip"
    assert config.rl.learning_rate == 1e-5
    assert config.rollout.new_items_only is True
    assert config.rollout.prompt_fields == ("year",)


def test_reward_weights_are_replaced_as_a_whole() -> None:
    config = load_config(overrides=["rl.cold_start.weights={format = 2.0}"])
    assert config.rl.cold_start.weights == {"format": 2.0}
    assert override_config(RunConfig(), ["rl.cold_start.weights={format = 2.0}"]) == config


def test_overriding_a_config_keeps_the_rest() -> None:
    before = load_config(overrides=["seed=3", "trm.width=16"])
    after = override_config(before, ["trm.layers=1"])
    assert (after.seed, after.trm.width, after.trm.layers) == (3, 16, 1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rl.learnin_rate=1", "unknown key 'rl.learnin_rate'; did you mean 'rl.learning_rate'?"),
        ("sed=1", "unknown key 'sed'; did you mean 'seed'?"),
        ("data.synthetic.user=1", "unknown key 'data.synthetic.user'; did you mean 'data.synthetic.users'?"),
        ("rl.users_per_step", "expected key=value"),
        ("=3", "expected key=value"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=[override])
    assert str(caught.value).startswith(f"--set {override}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("trm.width=wide", "trm.width", "'wide'"),
        ("trm.dropout=1.5", "trm.dropout", "1.5"),
        ("seed=-1", "seed", "-1"),
        ("rollout.template=chatty", "rollout.template", "'chatty'"),
        ("rl.rollouts_per_user=1", "rl.rollouts_per_user", "1"),
        ("trm=3", "trm", "3"),
    ],
)
def test_a_bad_value_is_named_with_its_key(override: str, key: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=[override])
    assert f"'{key}' = {value}: " in str(caught.value)


def test_an_unknown_key_in_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "games.toml"
    file.write_text("[rl]\nlearnin_rate = 0.1\n")
    with pytest.raises(ConfigError, match=r"games\.toml: unknown key 'rl\.learnin_rate'; did you mean"):
        load_config(file=file)


def test_a_missing_file_and_broken_toml_are_config_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.toml: can't be read \(No such file"):
        load_config(file=tmp_path / "no.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("seed = \n")
    with pytest.raises(ConfigError, match=r"broken\.toml: not valid TOML: .*line 1"):
        load_config(file=broken)
    broken.write_bytes(b"name = '\xe9'\n")
    with pytest.raises(ConfigError, match=r"broken\.toml: not valid TOML: "):
        load_config(file=broken)


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown preset 'cii'; did you mean 'ci'\?; known: .*\bci\b"):
        load_config("cii")


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_reads_back_the_same(name: str) -> None:
    config = load_config(name)
    text = to_toml(config.model_dump(exclude_none=True))
    assert parse_config(tomllib.loads(text), "run.toml") == config


PUBLISHED = {
    "data.name": "ml-1m",
    "trm.text_encoder": "BAAI/bge-large-en-v1.5",
    "trm.preference_instruction": "Represent this sentence for searching relevant passages: ",
    "trm.layers": 2,
    "trm.width": 128,
    "trm.dropout": 0.5,
    "trm.history": 20,
    "trm.experts": 8,
    "rollout.history": 20,
    "rollout.retrieved": 20,
    "rollout.recommended": 10,
    "rollout.max_retrievals": 8,
    "rollout.segment_tokens": 2048,
    "rollout.response_tokens": 16384,
    "rollout.new_items_only": False,
    "rollout.temperature": 1.0,
    "rollout.top_p": 0.95,
    "policy.model": "Qwen/Qwen2.5-7B",
    "policy.dtype": "bfloat16",
    "policy.lora_rank": 0,
    "warm_start.enabled": True,  # ours: a base model has no tags, and would sample no valid trajectory
    "selection.max_rank": 100,
    "rl.users_per_step": 128,
    "rl.rollouts_per_user": 8,
    "rl.updates_per_step": 2,
    "rl.learning_rate": 1e-6,
    "rl.clip": (0.2, 0.28),
    "rl.cold_start.steps": 20,
    "rl.cold_start.learning_rate": None,
    "rl.cold_start.weights": {"format": 1.0, "invocation": 1.0, "diversity": 1.0},
    "rl.recommendation.steps": 80,
    "rl.recommendation.learning_rate": None,
    "rl.recommendation.weights": {"list_format": 1.0, "hit": 1.0, "rank": 1.0, "similarity": 1.0},
}  # as the paper and its settings say, whatever our defaults are


def test_the_7b_preset_holds_the_published_values() -> None:
    values = load_config("qwen2.5-7b").model_dump()
    found = {key: reduce(getitem, key.split("."), values) for key in PUBLISHED}
    assert found == PUBLISHED


def test_presets_are_where_the_command_line_looks_for_them() -> None:
    assert {"ci", "default", "ml-100k", "qwen2.5-7b", "synthetic"} <= set(preset_names())
    assert {name: load_config(name).data.name for name in ("synthetic", "ml-100k", "default")} == {
        "synthetic": "synthetic", "ml-100k": "ml-100k", "default": RunConfig().data.name,
    }  # fmt: skip


def test_a_saved_config_reads_back_the_same_whatever_its_text_holds() -> None:
    config = load_config(
        overrides=[
            'data.source="quo\\"te\\\\ é\\n.zip"',
            "data.columns={title = 'a b'}",
            "trm.max_minutes=0.5",
        ]
    )
    text = to_toml(config.model_dump(exclude_none=True))
    assert parse_config(tomllib.loads(text), "run.toml") == config


# Not surrogates and NUL (see below); everything else that Unicode has, in keys, too.
_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(source=_TEXTS, columns=st.dictionaries(_TEXTS, _TEXTS), part=_TEXTS, weight=st.floats(0, 1e9))
def test_any_text_in_any_setting_reads_back_the_same(
    source: str, columns: dict[str, str], part: str, weight: float
) -> None:
    values = {
        "data": {"source": source, "columns": columns},
        "rl": {"cold_start": {"weights": {part: weight}}},
    }
    assert tomllib.loads(to_toml(values)) == values
    for value in (source, columns, [source, weight]):
        assert tomllib.loads(f"x = {toml_value(value)}")["x"] == value
        assert "\n" not in toml_value(value)


@pytest.mark.parametrize("text", ["a\0b", os.fsdecode(b"caf\xe9.csv")])
def test_what_no_file_can_hold_is_refused_with_its_key(text: str) -> None:
    for values, key in (
        ({"data": {"source": text}}, "data.source"),
        ({"data": {"columns": {text: "x"}}}, f"data.columns.{text}"),
        ({"evaluation": {"methods": ["trm", text]}}, "evaluation.methods"),
    ):
        with pytest.raises(ConfigError, match="is not text") as caught:
            parse_config(values, "run.toml")
        assert f"run.toml: {key!r} = {text!r}" in str(caught.value)
        str(caught.value).encode()  # can be printed anywhere


def test_a_config_can_not_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().trm.width = 3  # type: ignore[misc]


def test_every_setting_is_described() -> None:
    def fields(model: type, prefix: str = "") -> list[tuple[str, str | None]]:
        found = []
        for name, field in model.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and hasattr(kind, "model_fields"):
                assert kind.__doc__, f"{prefix}{name}"
                found += fields(kind, f"{prefix}{name}.")
            else:
                found.append((prefix + name, field.description))
        return found

    assert [name for name, text in fields(RunConfig) if not text] == []
