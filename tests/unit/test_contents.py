"""Hashes of what settings name: folders of models, and modules of one's own."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from deeprec import contents
from deeprec.contents import model_files, module_files


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "checkpoint-500").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "optimizer.pt", "checkpoint-500/model.safetensors"):
        (folder / name).write_bytes(name.encode())
    return folder


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_what_loading_reads_counts_and_nothing_beside_it(model: Path) -> None:
    assert model_files(str(model)) == {
        "config.json": sha(b"config.json"),
        "model.safetensors": sha(b"model.safetensors"),
    }


def test_a_text_encoder_lies_in_several_folders(model: Path) -> None:
    (model / "modules.json").write_text("[]")
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling" / "config.json").write_text("{}")
    assert model_files(str(model))["1_Pooling/config.json"] == sha(b"{}")


@pytest.mark.parametrize("name", ["tiny", "lsa", "org/model"])
def test_what_is_built_in_or_named_by_the_hub_has_no_files(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("tiny", "lsa"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").touch()
    monkeypatch.chdir(tmp_path)
    assert model_files(name) == {}


def test_a_large_file_is_known_by_pieces_from_its_first_to_its_last_byte(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_WHOLE", 100)
    monkeypatch.setattr(contents, "_PIECES", 5)
    monkeypatch.setattr(contents, "_PIECE", 10)
    file, data = model / "model.safetensors", bytes(range(210))
    file.write_bytes(data)
    pieces = b"".join(data[start : start + 10] for start in (0, 50, 100, 150, 200))
    assert model_files(str(model))["model.safetensors"] == sha(b"210" + pieces)


def test_modules_by_name_whatever_else_stands_among_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_own_part.py").write_text("PART = 1")
    monkeypatch.syspath_prepend(tmp_path)
    names = ["hit", "my_own_part:a", "my_own_part:b", "no_such_module_here:c", "sys:path"]
    assert module_files(names) == {"my_own_part": sha(b"PART = 1")}


def test_what_may_not_be_read_is_for_whoever_loads_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "my_closed_part.py").write_text("PART = 1")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(contents, "_hash_of", refused)
    monkeypatch.setattr("os.access", lambda *_: False)
    assert model_files(str(model)) == {}
    assert module_files(["my_closed_part:a"]) == {}
