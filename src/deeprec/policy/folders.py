"""What the files of a model may name and hold, checked before any weight is loaded.

A model's folder comes from anywhere. Its JSON may name pickles, files elsewhere, packages to fetch and
sizes that no machine has; so names and sizes are held against the weights that are there, and how the
model computes is chosen here, never by the folder. Nothing is unpickled, and no code of a repository runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils import cached_file

from deeprec.disk import read_json
from deeprec.errors import PolicyError

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_ADAPTER = "adapter_config.json"
# With these the folder would choose code: kernels from the hub, modules of its own, other files of weights.
_NOT_ITS_CHOICE = ("auto_map", "transformers_weights", "kernel_config")
_SIZES = (
    "num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads", "num_key_value_heads",
    "intermediate_size", "head_dim", "max_position_embeddings",
)  # fmt: skip
_POSITIVE = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "rope_theta")
_SHARES = ("partial_rotary_factor", "rotary_pct")
_LONGEST = 2**27  # positions; those of rotary models cost no weights
_PROBED = 4e9  # weights; reading more than these once more would take longer than loading them


def check_tokenizer(source: str, name: str) -> Mapping[str, Any]:
    """Settings of the tokenizer; raises PolicyError where they name files outside of the folder."""
    settings: dict[str, Any] = get_tokenizer_config(source)
    files = settings.get("fast_tokenizer_files") or ()
    named = [*files] if isinstance(files, list | tuple) else [files]
    if not (Path(source) / "tokenizer.json").is_file():  # otherwise that one counts, whatever is named
        named += [value for key, value in settings.items() if key.endswith("_file") and value]
    for file in named:
        _check_name(file, ("",), name, "tokenizer_config.json")
    return settings


def check_model(source: str, name: str) -> PreTrainedConfig:
    """The model's settings, without what is not the folder's to choose; raises PolicyError for what can't be true."""
    if _find(source, _ADAPTER) is not None:
        raise PolicyError(
            f"{name}: holds a LoRA adapter ({_ADAPTER}); merge it into its model, save that, and name its folder"
        )
    config = _settings(source, name)
    shapes = list(_shapes(source, name))
    elements = sum(math.prod(shape) for shape in shapes)
    _check_sizes(config, len(shapes), elements, name)
    if not hasattr(config, "quantization_config"):  # packed weights are counted otherwise
        _check_count(config, elements, name)
    return config


def described_parameters(source: str, name: str) -> int:
    """Numbers in the weights of a model: of a folder once they are found to be there, on the hub by its settings."""
    here = Path(source).is_dir()
    return _count(check_model(source, name) if here else _settings(source, name))


def _settings(source: str, name: str) -> PreTrainedConfig:
    values = _chosen(_read_object(source, "config.json", name), name)
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise PolicyError(
            f"{name}: config.json: model_type = {kind!r} is none that transformers knows; update it"
        )
    config: PreTrainedConfig = CONFIG_MAPPING[kind].from_dict(values)
    return config


@torch.no_grad()
def check_loaded(model: PreTrainedModel, name: str) -> None:
    """Raise PolicyError for weights that are not finite, or with which a first step gives no finite figure."""
    for key, weight in model.named_parameters():
        # One number that is not finite makes the sum so; asking each takes four times as long.
        if weight.is_floating_point() and not bool(torch.isfinite(weight.sum(dtype=torch.float32))):
            raise PolicyError(
                f"{name}: weight '{key}' holds numbers that are not finite; fetch or train it again"
            )
    if model.num_parameters() > _PROBED:
        return
    found = model(torch.zeros(1, 2, dtype=torch.long, device=model.device), use_cache=False).logits
    if not bool(torch.isfinite(found).all()):
        raise PolicyError(f"{name}: gives logits that are not finite; check the numbers in config.json")


def _chosen(values: Mapping[str, Any], name: str, place: str = "") -> dict[str, Any]:
    """Settings without what the folder may not choose; raises PolicyError for numbers that can't be true."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key in _NOT_ITS_CHOICE or key.strip("_").endswith(("implementation", "implementation_internal")):
            continue
        wrong = _wrong_number(key, value)
        if wrong is not None:
            raise PolicyError(f"{name}: config.json: {place}{key} = {value} {wrong}; correct it")
        found[key] = _chosen(value, name, f"{place}{key}.") if isinstance(value, Mapping) else value
    return found


def _wrong_number(key: str, value: object) -> str | None:
    """What is wrong with a number of the settings; None: nothing, or it is none."""
    if not isinstance(value, int | float):
        return None
    if not math.isfinite(value):
        return "is not a finite number"
    if key in _POSITIVE and value <= 0:
        return "must be above zero"
    return "must not be above one" if key in _SHARES and value > 1 else None


def _check_sizes(config: PreTrainedConfig, tensors: int, elements: int, name: str) -> None:
    """Raise PolicyError for sizes that are no positive whole numbers, or that the weights can't have."""
    most = {"num_hidden_layers": tensors, "max_position_embeddings": _LONGEST}
    text = config.get_text_config()
    for key in _SIZES:
        value = getattr(text, key, None)
        if value is None:
            continue
        for size in value if isinstance(value, list | tuple) else (value,):
            if type(size) is not int or not 1 <= size <= most.get(key, elements):
                raise PolicyError(
                    f"{name}: config.json: {key} = {value!r} doesn't fit the weights ({tensors} of them, "
                    f"{elements:,} numbers); copy or download the folder again"
                )


def _check_count(config: PreTrainedConfig, elements: int, name: str) -> None:
    """Raise PolicyError for settings of a larger model than the weights fill, before room is made for it."""
    described = _count(config)
    if described > elements:
        raise PolicyError(
            f"{name}: config.json describes a model of {described:,} weights, the files hold {elements:,}; "
            "the folder is not whole: copy or download it again"
        )


def _count(config: PreTrainedConfig) -> int:
    with torch.device("meta"):  # nothing is allocated
        model = AutoModelForCausalLM.from_config(deepcopy(config), trust_remote_code=False)
    count: int = model.num_parameters()
    return count


def _shapes(source: str, name: str) -> Iterator[Sequence[int]]:
    """Shapes of all weights, from the heads of the files alone."""
    for file in _weight_files(source, name):
        with safe_open(file, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118 - no mapping
                yield opened.get_slice(key).get_shape()


def _weight_files(source: str, name: str) -> list[str]:
    single = _find(source, _WEIGHTS)
    if single is not None:
        return [single]
    if _find(source, _INDEX) is None:
        raise PolicyError(
            f"{name}: has no {_WEIGHTS}; its model can't be read: save it as safetensors (pickles are not read)"
        )
    index = _read_object(source, _INDEX, name).get("weight_map")
    if not isinstance(index, dict) or not index:
        raise PolicyError(f"{name}: {_INDEX}: has no weight_map; copy or download the folder again")
    files = list(dict.fromkeys(index.values()))
    for file in files:
        _check_name(file, (".safetensors",), name, _INDEX)
    found = {file: _find(source, file) for file in files}
    missing = next((file for file, place in found.items() if place is None), None)
    if missing is not None:
        raise PolicyError(f"{name}: has no {missing}, which {_INDEX} names; copy or download it again")
    return [place for place in found.values() if place is not None]


def _check_name(file: object, endings: tuple[str, ...], name: str, where: str) -> None:
    """Raise PolicyError for what is not the plain name of a file in the folder."""
    if (
        isinstance(file, str)
        and PurePosixPath(file).name == file
        and "\\" not in file
        and file.endswith(endings)
    ):
        return
    wanted = f"a {endings[0]} file" if endings[0] else "a file"
    raise PolicyError(f"{name}: {where} names {file!r}; only {wanted} of the folder itself is read")


def _find(source: str, file: str) -> str | None:
    """Where a file of a folder, or of a model on the hub, lies here; None if there is none."""
    if Path(source).is_dir():
        place = Path(source) / file
        return str(place) if place.is_file() else None
    found: str | None = cached_file(source, file, _raise_exceptions_for_missing_entries=False)
    return found


def _read_object(source: str, file: str, name: str) -> dict[str, Any]:
    place = _find(source, file)
    if place is None:
        raise PolicyError(f"{name}: no {file} here; name a folder with a saved Hugging Face model")
    values = read_json(Path(place))
    if not isinstance(values, dict):
        raise PolicyError(f"{name}: {file} can't be read (no JSON object); copy or download the folder again")
    return values
