"""Folders of text encoders that name code or places outside: refused before any library reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deeprec.errors import ConfigError
from deeprec.trm.encoder_folders import check_encoder

TRANSFORMER = {"path": "", "type": "sentence_transformers.models.Transformer"}
DENSE = {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}


def write(folder: Path, modules: object, config: object = None, dense: object = None) -> str:
    (folder / "2_Dense").mkdir(exist_ok=True)
    for place, value in (("modules.json", modules), ("config.json", config), ("2_Dense/config.json", dense)):
        (folder / place).write_text(json.dumps(value), encoding="utf-8")
    return str(folder)


def test_what_ordinary_folders_hold_passes(tmp_path: Path) -> None:
    config = {"model_type": "gpt2", "activation_function": "gelu_new", "_attn_implementation": "sdpa"}
    dense = {"activation_function": "torch.nn.modules.activation.Tanh", "in_features": 4}
    check_encoder(write(tmp_path, [TRANSFORMER, DENSE], config, dense))
    check_encoder("sentence-transformers/all-MiniLM-L6-v2")  # no folder here: the library fetches it


@pytest.mark.parametrize(
    ("modules", "config", "dense", "words"),
    [
        ([TRANSFORMER | {"type": "os.system"}], {}, {}, ("modules.json", "'os.system'")),
        ([TRANSFORMER, DENSE | {"type": "modeling_evil.Evil"}], {}, {}, ("modules.json", "modeling_evil")),
        ([DENSE | {"path": "../outside"}], {}, {}, ("modules.json", "'../outside'")),
        ([DENSE | {"path": "/etc"}], {}, {}, ("modules.json", "'/etc'")),
        ([DENSE | {"path": "a/../../b"}], {}, {}, ("modules.json", "path")),
        ([DENSE | {"path": "..\\b"}], {}, {}, ("modules.json", "path")),
        ([TRANSFORMER], {"_attn_implementation": "evil/kernels"}, {}, ("config.json", "evil/kernels")),
        (
            [TRANSFORMER],
            {"text_config": {"attn_implementation": "evil/k:1"}},
            {},
            ("config.json", "evil/k:1"),
        ),
        ([DENSE], {}, {"activation_function": "os.abort"}, ("2_Dense/config.json", "'os.abort'")),
        ([DENSE], {}, {"activation_function": "torch.hub.evil"}, ("2_Dense/config.json", "torch.hub.evil")),
    ],
)
def test_code_and_places_outside_are_refused(
    tmp_path: Path, modules: Any, config: Any, dense: Any, words: tuple[str, ...]
) -> None:
    folder = write(tmp_path, modules, config, dense)
    with pytest.raises(ConfigError, match=r"trm\.text_encoder = .* is not the folder's to choose") as caught:
        check_encoder(folder)
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)
