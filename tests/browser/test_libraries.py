"""What is shipped of other projects is what its manifest says, and nothing else."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    place = ROOT / "tools" / "fetch_page_libraries.py"
    spec = importlib.util.spec_from_file_location("fetch_page_libraries", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_are_those_of_the_manifests(tool: ModuleType) -> None:
    assert [line for manifest in tool.MANIFESTS for line in tool.differences(manifest)] == []


def test_what_differs_is_named(tool: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "lib"
    shutil.copytree(tool.MANIFESTS[0].parent, folder)
    (folder / "htm.module.js").write_text("export default () => 'something else'")
    (folder / "extra.js").write_text("")
    (folder / "preact.mjs").unlink()
    wrong = tool.differences(folder / "manifest.json")
    assert [line.partition(f"{folder}/")[2] for line in wrong] == [
        "extra.js: not in the manifest",
        "preact.mjs: missing",
        "htm.module.js: differs from the release",
    ]


def test_every_package_comes_with_its_licence(tool: ModuleType) -> None:
    for manifest in tool.MANIFESTS:
        for package in tool._packages(manifest):
            assert any("LICENSE" in entry["file"] for entry in package["files"]), package["name"]
