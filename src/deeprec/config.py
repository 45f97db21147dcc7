"""The settings of a run (`settings`) from TOML and the command line.

Later wins: defaults, preset, file, `--set key=value`. Unknown keys fail and name the
nearest known one. `docs/reference/config.md` is generated from the field descriptions.
"""

from __future__ import annotations

import copy
import difflib
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from deeprec.errors import ConfigError
from deeprec.settings import (
    ColdStartConfig,
    DataConfig,
    EngineConfig,
    EvaluationConfig,
    InferenceConfig,
    PolicyConfig,
    RecommendationConfig,
    RLConfig,
    RolloutConfig,
    RunConfig,
    SelectionConfig,
    StageConfig,
    SyntheticConfig,
    TRMConfig,
    WarmStartConfig,
    WishesConfig,
)
from deeprec.settings.gone import GONE
from deeprec.settings.section import WHOLE

__all__ = [
    "ColdStartConfig",
    "DataConfig",
    "EngineConfig",
    "EvaluationConfig",
    "InferenceConfig",
    "PolicyConfig",
    "RLConfig",
    "RecommendationConfig",
    "RolloutConfig",
    "RunConfig",
    "SelectionConfig",
    "StageConfig",
    "SyntheticConfig",
    "TRMConfig",
    "WarmStartConfig",
    "WishesConfig",
    "load_config",
    "override_config",
    "parse_config",
    "parse_saved",
    "preset_names",
]


def preset_names() -> list[str]:
    """Names of the complete runs shipped with the package, sorted."""
    folder = resources.files("deeprec") / "presets"
    return sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_config(
    preset: str | None = None,
    file: Path | None = None,
    overrides: Iterable[str] = (),
) -> RunConfig:
    """Merge defaults, a preset, a TOML file and `key=value` overrides; later wins.

    Values of overrides are read as TOML (`seed=3`, `data.name="ml-100k"`); a bare word
    counts as text. Raises ConfigError naming place, key and nearest known key.
    """
    merged: dict[str, Any] = {}
    if preset is not None:
        _merge(merged, _read_preset(preset), f"preset {preset}")
    if file is not None:
        _merge(merged, read_settings(file), str(file))
    for override in overrides:
        _merge(merged, _parse_override(override), f"--set {override}")
    return parse_config(merged, "config")


def override_config(config: RunConfig, overrides: Iterable[str]) -> RunConfig:
    """A copy with `key=value` overrides applied; same errors as `load_config`."""
    merged = config.model_dump(exclude_none=True)
    for override in overrides:
        _merge(merged, _parse_override(override), f"--set {override}")
    return parse_config(merged, "--set")


def parse_config(values: Mapping[str, Any], place: str) -> RunConfig:
    """Check plain values; raises ConfigError with place, key, value and remedy."""
    _check_keys(values, RunConfig, place, "")
    _check_text(values, place)
    try:
        return RunConfig.model_validate(dict(values))
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise ConfigError(
            f"{place}: '{key}' = {problem['input']!r}: {problem['msg'].removeprefix('Value error, ')}"
        ) from None


def parse_saved(values: Mapping[str, Any], place: str) -> RunConfig:
    """The settings of a run as they were saved, maybe by an earlier version.

    A setting that is gone is left out if its value is what holds now; ConfigError for any other value.
    """
    kept = copy.deepcopy(dict(values))
    for key, gone in GONE.items():
        if gone.value is None:  # read by `former.upgrade`
            continue
        *parents, name = key.split(".")
        section: Any = kept
        for parent in parents:
            section = section.get(parent) if isinstance(section, Mapping) else None
        if not isinstance(section, dict) or name not in section:
            continue
        if not gone.holds(section.pop(name), section):
            raise ConfigError(
                f"{place}: '{key}' is gone: {gone.where}. This run was made with another value, which no longer can "
                "be had: make a new one in another folder"
            )
    return parse_config(kept, place)


def _read_preset(name: str) -> dict[str, Any]:
    if name not in preset_names():
        known = preset_names()
        raise ConfigError(f"unknown preset '{name}'{_suggest(name, known)}; known: {', '.join(known)}")
    text = (resources.files("deeprec") / "presets" / f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def read_settings(file: Path) -> dict[str, Any]:
    """What a TOML file says, unchecked; raises ConfigError when it can't be read."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: can't be read ({error.strerror}); check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None


def _parse_override(override: str) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {override}: expected key=value, such as --set rl.users_per_step=32")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    nested: dict[str, Any] = {}
    leaf = nested
    *parents, last = key.strip().split(".")
    for parent in parents:
        leaf = leaf.setdefault(parent, {})
    leaf[last] = value
    return nested


def _merge(base: dict[str, Any], update: Mapping[str, Any], place: str) -> None:
    _check_keys(update, RunConfig, place, "")
    _deep_update(base, update)


def _deep_update(base: dict[str, Any], update: Mapping[str, Any]) -> None:
    for key, value in update.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict) and key not in WHOLE:
            _deep_update(base[key], value)
        else:
            base[key] = value


def _check_keys(values: Mapping[str, Any], model: type[BaseModel], place: str, prefix: str) -> None:
    for key, value in values.items():
        if prefix + key in GONE:
            raise ConfigError(f"{place}: '{prefix}{key}' is gone: {GONE[prefix + key].where}")
        if key not in model.model_fields:
            known = [prefix + name for name in model.model_fields]
            raise ConfigError(f"{place}: unknown key '{prefix}{key}'{_suggest(prefix + key, known)}")
        nested = model.model_fields[key].annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel) and isinstance(value, Mapping):
            _check_keys(value, nested, place, f"{prefix}{key}.")


def _check_text(values: Any, place: str, key: str = "") -> None:
    """Raise ConfigError for text that no file of settings can hold, or no path: bytes that are no UTF-8, NUL."""
    if isinstance(values, Mapping):
        for name, value in values.items():
            _check_text(str(name), place, f"{key}{name}")
            _check_text(value, place, f"{key}{name}.")
    elif isinstance(values, list | tuple):
        for value in values:
            _check_text(value, place, key)
    elif isinstance(values, str) and ("\0" in values or not _is_utf8(values)):
        raise ConfigError(
            f"{place}: {key.removesuffix('.')!r} = {values!r}: is not text (NUL, or bytes that are not UTF-8); "
            "a file or folder of that name has to be renamed"
        )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _suggest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known)}"
