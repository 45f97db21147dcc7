"""`deeprec store` as it is typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deeprec.config import load_config
from deeprec.run import Run
from deeprec.store import Feedback, HistoryEntry, open_store
from deeprec.store.schema import latest_version


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store with two users."""
    place = f"sqlite:///{tmp_path / 'store.db'}"
    with open_store(place) as store:
        store.put_history("u1", [HistoryEntry("i1"), HistoryEntry("i2")])
        store.add_feedback(Feedback("u2", "i1", "click", 1.0))
    return place


def test_info(deeprec: Callable, url: str) -> None:
    shown = deeprec("store", "info", "--store", url)
    assert shown.code == 0
    assert "2 known, 0 forgotten" in shown.out
    assert "1 with 2 entries" in shown.out
    assert "0 impressions, 1 clicks, 0 ratings" in shown.out
    as_json = json.loads(deeprec("store", "info", "--store", url, "--json").out)
    assert as_json["url"] == url
    assert as_json["schema"] == latest_version()
    assert as_json["feedback"] == {"impression": 0, "click": 1, "rating": 0}


def test_the_runs_own_store_is_the_default(deeprec: Callable, url: str, tmp_path: Path) -> None:
    shown = deeprec("store", "info", "--run", tmp_path, "--json")
    assert json.loads(shown.out)["url"] == url


def test_forget(deeprec: Callable, url: str) -> None:
    assert deeprec("store", "forget", "u1", "--store", url).out == "Forgotten: u1\n"
    assert "nothing was stored" in deeprec("store", "forget", "u1", "--store", url).out
    assert json.loads(deeprec("store", "forget", "u9", "--store", url, "--json").out) == {
        "user_id": "u9", "was_stored": False
    }  # fmt: skip
    with open_store(url) as store:
        assert store.is_deleted("u1")
        assert store.history("u1") is None


def test_export_and_prepare(deeprec: Callable, url: str, tmp_path: Path) -> None:
    run, folder = tmp_path / "run", tmp_path / "next"
    small = ("--set", "data.synthetic.users=30", "--set", "data.synthetic.items=40")
    assert deeprec("data", "prepare", "synthetic", "--run", run, *small).code == 0
    done = deeprec("store", "export", "--store", url, "--run", run, "--to", folder)
    assert done.code == 0, done.err
    assert f"deeprec quickstart --config {folder / 'next.toml'}" in done.out
    assert {file.name for file in folder.iterdir()} == {
        "interactions.parquet", "items.parquet", "users.parquet", "next.toml"
    }  # fmt: skip
    again = deeprec("store", "export", "--store", url, "--run", run, "--to", folder)
    assert (again.code, "is not empty" in again.err) == (2, True)


@pytest.mark.parametrize("command", [("info",), ("forget", "u1"), ("export", "--to", "next")], ids=" ".join)
def test_a_store_that_is_not_there_is_one_line(
    deeprec: Callable, tmp_path: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Run.create(tmp_path / "runs" / "default", load_config("ci"))
    outcome = deeprec("store", *command, "--store", f"sqlite:///{tmp_path / 'typo.db'}")
    assert outcome.code == 2
    assert outcome.err.startswith("StoreError: sqlite:///")
    assert "no store here" in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not (tmp_path / "typo.db").exists()


def test_tenants_are_apart(deeprec: Callable, url: str) -> None:
    with open_store(url) as store:
        store.of("shop-b").put_history("u1", [HistoryEntry("i9")])
        names = [view.pseudonym("u1") for view in (store, store.of("shop-b"))]
    shown = deeprec("store", "info", "--store", url, "--tenant", "shop-b")
    assert "shop-b of: the first, shop-b" in shown.out
    assert "1 known, 0 forgotten" in shown.out
    told = [
        deeprec("store", "pseudonym", "u1", "--store", url, *more).out
        for more in ((), ("--tenant", "shop-b"))
    ]
    assert told == [f"{name}\n" for name in names]
    assert deeprec("store", "forget", "u1", "--store", url, "--tenant", "shop-b").code == 0
    with open_store(url) as store:
        assert store.history("u1") is not None
