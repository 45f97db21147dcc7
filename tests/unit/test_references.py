"""Things of your own, by the module they are in: what is found, and what is said of what can't be."""

from __future__ import annotations

from pathlib import Path

import pytest

from deeprec.errors import ConfigError
from deeprec.references import check_members, is_reference, load_function, load_reference


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", ["mine:build", "a.b.c:d", "mine:Class.build", "_m1:_f"])
def test_what_names_a_thing_in_a_module(text: str) -> None:
    assert is_reference(text)


@pytest.mark.parametrize(
    "text", ["", "mine", ":", "mine:", ":build", "a..b:c", "a:b:c", "http://a:b", "rival :x", "1a:b", "a:b c"]
)
def test_what_does_not(text: str) -> None:
    assert not is_reference(text)
    with pytest.raises(ConfigError, match=r"name a thing in a module as package\.module:name"):
        load_reference(text, "trm.kind")


def test_modules_packages_and_attributes_of_classes(folder: Path) -> None:
    package = folder / "pack_of_mine"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "parts.py").write_text("class Maker:\n    @staticmethod\n    def make():\n        return 7\n")
    assert load_function("pack_of_mine.parts:Maker.make", "trm.kind", ())() == 7


@pytest.mark.parametrize(
    ("source", "reference", "message"),
    [
        (
            None,
            "nowhere_at_all:f",
            r"rl = 'nowhere_at_all:f': can't import 'nowhere_at_all' \(No module named",
        ),
        ("import nothing_there", "mine_a:f", "can't import 'mine_a'.*'nothing_there'.*PYTHONPATH"),
        ("def f(:", "mine_b:f", "'mine_b' is no valid Python .*line 1"),
        ("g = 1", "mine_c:f", "module 'mine_c' has no attribute 'f'; check the name"),
        ("f = 1", "mine_d:f.g", "module 'mine_d' has no attribute 'f.g'"),
        ("f = 1", "mine_e:f", "is a int, not callable; name a function"),
        ("def f(dataset): ...", "mine_g:f", r"can't be called with \(dataset, config, seed=...\): too many"),
        ("def f(a, b, c, *, seed): ...", "mine_h:f", r"called with \(.*\): missing a required argument: 'c'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    folder: Path, source: str | None, reference: str, message: str
) -> None:
    if source is not None:
        (folder / f"{reference.partition(':')[0]}.py").write_text(source)
    with pytest.raises(ConfigError, match=message) as caught:
        load_function(reference, "rl", ("dataset", "config"), ("seed",))
    assert "\n" not in str(caught.value)


def test_a_fault_of_the_module_comes_as_it_is(folder: Path) -> None:
    (folder / "mine_broken.py").write_text("{}['absent']")
    with pytest.raises(KeyError):
        load_reference("mine_broken:f", "trm.kind")


def test_a_contract_names_what_is_lacking() -> None:
    check_members("text", "Text", ("upper", "lower"), "here")
    with pytest.raises(
        ConfigError, match=r"here: gave a int, which is no Text: it lacks upper, lower; see docs/howto"
    ):
        check_members(3, "Text", ("real", "upper", "lower"), "here")


def test_what_says_nothing_of_its_arguments_is_taken_as_it_is() -> None:
    assert load_function("builtins:min", "trm.kind", ("a", "b"))(2, 1) == 1
