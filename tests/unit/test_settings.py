"""The settings as a whole: how many there are, and what is said of those that are gone."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from deeprec.config import RunConfig, load_config, parse_saved
from deeprec.errors import ConfigError
from deeprec.run import Run
from deeprec.settings.former import upgrade
from deeprec.settings.gone import GONE
from deeprec.toml import to_toml

MOST = 179  # one more makes a newcomer's afternoon longer: put a constant beside its code, or take one away


def test_there_are_not_too_many() -> None:
    assert len(RunConfig.settings()) <= MOST


@pytest.mark.parametrize("key", GONE)
def test_a_setting_that_is_gone_is_refused_with_its_new_place(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=[f"{key}=1"])
    assert str(caught.value) == f"--set {key}=1: '{key}' is gone: {GONE[key].where}"


@pytest.mark.parametrize("key", GONE)
def test_the_new_place_is_there_and_holds_the_same(key: str) -> None:
    gone = GONE[key]
    constant = re.fullmatch(r'it is (\w+)(?:\["(\w+)"\])? in deeprec/(.+)\.py now', gone.where)
    if constant:
        name, entry, place = constant.groups()
        value = getattr(import_module(f"deeprec.{place.replace('/', '.')}"), name)
        value = value if entry is None else value[entry]
        assert gone.value == (list(value) if isinstance(value, tuple) else value)
        return
    known = {setting.path for setting in RunConfig.settings()}
    sections = "|".join(RunConfig.model_fields)
    assert set(re.findall(rf"\b(?:{sections})\.[a-z_.]+[a-z_]", gone.where)) <= known


def earlier(**changes: object) -> dict[str, object]:
    """A run.toml as an earlier version wrote it, with every setting that is gone now."""
    values = tomllib.loads(to_toml(RunConfig().model_dump(mode="json", exclude_none=True)))
    for key, gone in GONE.items():
        if gone.value is None:
            continue
        *parents, name = key.split(".")
        section = values
        for parent in parents:
            section = section[parent]
        value = gone.value(section) if callable(gone.value) else gone.value
        section[name] = changes.get(key, value)
    return values


def test_a_run_of_an_earlier_version_is_read() -> None:
    assert parse_saved(earlier(), "run.toml") == RunConfig()


def test_minutes_of_reading_are_half_of_the_stages() -> None:
    saved = {"warm_start": {"reading_epochs": 3, "reading_minutes": 10.0}}
    assert upgrade(saved, "run.toml")["warm_start"] == {"reading_epochs": 3, "minutes": 20.0}


def test_a_run_that_chose_what_no_longer_can_be_chosen_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(to_toml(earlier(**{"trm.weight_average": 0.99})))
    with pytest.raises(ConfigError) as caught:
        Run.open(tmp_path)
    assert str(caught.value).startswith(
        f"{tmp_path / 'run.toml'}: 'trm.weight_average' is gone: it is AVERAGED in deeprec/trm/training.py now. "
        "This run was made with another value"
    )


@pytest.mark.parametrize("values", [{"trm": 3}, {"rivals": {"plain": 1}}])
def test_a_broken_file_is_told_as_such(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"run\.toml: '(trm|rivals\.plain)' = "):
        parse_saved(values, "run.toml")
