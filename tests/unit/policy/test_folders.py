"""Folders of models that name, hold or promise what they should not: one PolicyError each."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import save_model
from safetensors.torch import load_file, save_file

from deeprec.config import PolicyConfig
from deeprec.errors import PolicyError
from deeprec.launch.machines import shaped_parameters
from deeprec.policy.loading import load_causal_lm, load_policy, load_tokenizer

_INDEX = "model.safetensors.index.json"


class _Fires:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "llama"
    save_model(folder, "llama")
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "model")
    return tmp_path / "model"


def change(file: Path, **values: Any) -> None:
    settings = json.loads(file.read_text()) if file.is_file() else {}
    file.write_text(json.dumps(settings | values))


def refused(folder: Path, *words: str) -> str:
    with pytest.raises(PolicyError) as caught:
        load_policy(str(folder), PolicyConfig())
    message = str(caught.value)
    assert message.startswith(f"{folder}: ")
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def split(folder: Path, name: str) -> None:
    """Put the weights into a file of another name, which an index names."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".safetensors"):
        save_file(state, place, metadata={"format": "pt"})
    (folder / _INDEX).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(state, name)}))


def test_an_index_that_names_a_pickle_runs_nothing(folder: Path) -> None:
    mark = folder.parent / "fired"
    split(folder, "weights.bin")
    (folder / "weights.bin").write_bytes(pickle.dumps(_Fires(mark)))
    refused(folder, _INDEX, "'weights.bin'", "only a .safetensors file of the folder itself is read")
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "sub/x.safetensors", "..\\x.safetensors", ".safetensors/.."]
)
def test_an_index_never_leaves_the_folder(folder: Path, name: str) -> None:
    split(folder, name)
    refused(folder, _INDEX, repr(name), "of the folder itself")


def test_an_absolute_path_in_an_index_is_refused(folder: Path, tmp_path: Path) -> None:
    split(folder, str(tmp_path / "outside.safetensors"))
    refused(folder, "outside.safetensors", "of the folder itself")


@pytest.mark.parametrize("value", [None, {}, [], "x", {"a": 3}, {"a": None}])
def test_an_index_without_names_is_refused(folder: Path, value: object) -> None:
    split(folder, "a.safetensors")
    (folder / _INDEX).write_text(json.dumps({"weight_map": value}))
    refused(folder, _INDEX)


def test_a_file_that_an_index_names_and_that_is_gone(folder: Path) -> None:
    split(folder, "a.safetensors")
    (folder / "a.safetensors").unlink()
    refused(folder, "has no a.safetensors, which")


def test_a_pickle_alone_is_not_read(folder: Path) -> None:
    mark = folder.parent / "fired"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Fires(mark)))
    refused(folder, "has no model.safetensors", "pickles are not read")
    assert not mark.exists()


@pytest.mark.parametrize(
    "values",
    [
        {"_attn_implementation": "evil/kernels"},
        {"attn_implementation": "flash_attention_2|evil/kernels"},
        {"_experts_implementation": "evil/kernels"},
        {"transformers_weights": "adapter_model.bin"},
        {"transformers_weights": "../x.safetensors"},
        {"auto_map": {"AutoModelForCausalLM": "evil--modeling.Evil", "AutoConfig": "evil.Config"}},
        {"kernel_config": {"RMSNorm": "evil/kernels:Norm"}},
    ],
)
def test_how_a_model_computes_is_not_the_folder_s_choice(
    folder: Path, whole: Path, values: dict[str, Any]
) -> None:
    plain, _ = load_causal_lm(str(whole), "float32")
    change(folder / "config.json", **values)
    (folder / "evil.py").write_text(f"open({str(folder.parent / 'fired')!r}, 'w')\n")
    found, _ = load_causal_lm(str(folder), "float32")
    assert found.config._attn_implementation == plain.config._attn_implementation == "sdpa"
    ids = torch.arange(5)[None]
    assert torch.equal(found(ids).logits, plain(ids).logits)
    assert not (folder.parent / "fired").exists()


def test_an_adapter_is_sent_back(folder: Path) -> None:
    change(folder / "adapter_config.json", base_model_name_or_path="evil/base", peft_type="LORA")
    refused(folder, "LoRA adapter", "merge it")


_SIZES = ["hidden_size", "num_hidden_layers", "vocab_size", "num_attention_heads", "intermediate_size"]


@pytest.mark.parametrize("value", [-1, 0, 10**7, 10**18, 1.5, "32", [], {}, True])
@pytest.mark.parametrize("key", _SIZES)
def test_sizes_that_the_weights_do_not_have(folder: Path, key: str, value: object) -> None:
    change(folder / "config.json", **{key: value})
    refused(folder)


@pytest.mark.parametrize(
    "values",
    [
        {"rms_norm_eps": float("nan")},
        {"rms_norm_eps": -1.0},
        {"rope_parameters": {"rope_type": "default", "rope_theta": float("inf")}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 0}},
        {"max_position_embeddings": -1},
        {"max_position_embeddings": 0},
        {"model_type": "evil"},
        {"model_type": None},
        {"model_type": ["llama"]},
        {"hidden_act": "evil"},
    ],
)
def test_settings_that_make_no_model(folder: Path, values: dict[str, Any]) -> None:
    change(folder / "config.json", **values)
    refused(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers(folder: Path, value: float) -> None:
    state = load_file(folder / "model.safetensors")
    state["model.layers.1.mlp.up_proj.weight"][3, 5] = value
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder, "'model.layers.1.mlp.up_proj.weight'", "not finite")


def _drop(state: dict[str, torch.Tensor]) -> None:
    del state["model.norm.weight"]


def _cut(state: dict[str, torch.Tensor]) -> None:
    state["model.norm.weight"] = state["model.norm.weight"][:7].clone()


def _empty(state: dict[str, torch.Tensor]) -> None:
    state.clear()


@pytest.mark.parametrize("harm", [_drop, _cut, _empty])
def test_weights_that_do_not_fit(folder: Path, harm: Callable[[dict[str, torch.Tensor]], None]) -> None:
    state = load_file(folder / "model.safetensors")
    harm(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    refused(folder)


@pytest.mark.parametrize("text", ["", "[]", "3", "null", "{", '"x"', "\ufeff{}", "{}"])
def test_a_config_that_is_none(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    refused(folder)


def test_a_tokenizer_never_leaves_the_folder(folder: Path, whole: Path) -> None:
    ids = load_tokenizer(str(whole)).encode("recommend films")
    other = folder.parent / "other.json"
    shutil.copy(folder / "tokenizer.json", other)
    change(folder / "tokenizer_config.json", fast_tokenizer_files=["../other.json"])
    refused(folder, "tokenizer_config.json", "'../other.json'", "of the folder itself")
    change(folder / "tokenizer_config.json", fast_tokenizer_files=[], tokenizer_file=str(other))
    assert load_tokenizer(str(folder)).encode("recommend films") == ids  # its own counts, as ever
    (folder / "tokenizer.json").unlink()
    refused(folder, "tokenizer_config.json", str(other))


def test_checking_draws_no_random_number(whole: Path) -> None:
    state = torch.random.get_rng_state()
    load_causal_lm(str(whole), "float32")
    np.testing.assert_array_equal(state.numpy(), torch.random.get_rng_state().numpy())


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("model", "byte_fallback", "bfloat16"),
        ("model", "merges", [[{}, "a"]]),
        ("", "added_tokens", [{"id": 1}]),
    ],
)
def test_a_tokenizer_file_that_its_library_cant_read_is_one_line(
    folder: Path, part: str, key: str, value: object
) -> None:
    file = folder / "tokenizer.json"
    settings = json.loads(file.read_text())
    (settings[part] if part else settings)[key] = value
    file.write_text(json.dumps(settings))
    refused(folder, "its tokenizer can't be read", "copy or download the folder again")


def test_a_model_that_is_only_measured_is_checked_like_one_that_is_loaded(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    assert shaped_parameters(str(folder)) == sum(weight.numel() for weight in state.values())
    change(folder / "config.json", auto_map={"AutoConfig": "evil.Config"})
    assert shaped_parameters(str(folder)) > 0  # and nobody is asked whether to trust it
    for size in (-1, 10**9):
        change(folder / "config.json", num_hidden_layers=size)
        with pytest.raises(PolicyError, match=f"num_hidden_layers = {size} doesn't fit"):
            shaped_parameters(str(folder))
    with pytest.raises(PolicyError, match="nobody/has-this: "):
        shaped_parameters("nobody/has-this")
