"""What `deeprec bench soak` is made of: each request gets its due, troubles are real ones, and goals can be missed."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from typing import Literal

import pytest
from serve_world import run_folder, running, small_service
from typer.testing import CliRunner

from deeprec.bench.soak.clients import Outcome, ask, clients
from deeprec.bench.soak.figures import Feedback, Sample, by_kind, checks, is_passed, is_right, minute, sample
from deeprec.bench.soak.kinds import DEEPREC, KINDS, TRM, WRONG, Kind, World
from deeprec.bench.soak.troubles import Window, own_database, strike
from deeprec.cli.app import app
from deeprec.errors import EngineError, StoreUnavailable
from deeprec.serve.keyring import Keyring, add_key
from deeprec.serve.keys import SCOPES
from deeprec.store import Feedback as Given
from deeprec.store import open_store

WORLD = World([f"u{number}" for number in range(1, 30)], [f"i{number}" for number in range(1, 25)])
NAMED = {kind.name: kind for kind in KINDS}


def test_each_kind_of_request_gets_what_is_right(tmp_path: Path) -> None:
    keys = [add_key(tmp_path / "keys.toml", name, SCOPES) for name in ("a", "b")]
    service, _ = small_service(tmp_path / "store.db")
    heard: list[Outcome] = []
    with running(service, keyring=Keyring(file=tmp_path / "keys.toml")) as client:
        address = f"{client.base_url.host}:{client.base_url.port}"
        with closing(HTTPConnection(address, timeout=20)) as connection:
            for kind in KINDS:
                heard.append(ask(connection, keys[0], kind, kind.make(WORLD, Random(0), f"key-{kind.name}")))
            for sent in WRONG:
                heard.append(ask(connection, keys[0], NAMED["a wrong one"], sent))
        with clients(address, keys, WORLD, 0.01, 1, heard.append):
            time.sleep(1)
    assert [outcome for outcome in heard if not outcome.is_right] == []
    assert {outcome.kind.name for outcome in heard} == set(NAMED)
    with open_store(f"sqlite:///{tmp_path / 'store.db'}") as store:
        kept = [entry.key for entry in store.feedback()]
    assert sorted(kept) == sorted(outcome.feedback for outcome in heard if outcome.feedback)


def test_a_policy_that_does_not_answer_is_noticed(tmp_path: Path) -> None:
    service, engine = small_service(tmp_path / "store.db")
    with running(service) as client:
        address = f"{client.base_url.host}:{client.base_url.port}"
        for name in (DEEPREC, "stream"):
            engine.failure = RuntimeError("out of order")
            with closing(HTTPConnection(address, timeout=20)) as connection:
                found = ask(connection, "", NAMED[name], NAMED[name].make(WORLD, Random(0), ""))
            assert (found.told, found.is_right) == ("200 engine", False)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_database_that_is_struck_is_away_and_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    kind: Literal["sqlite", "postgres"],
) -> None:
    if kind == "postgres":
        request.getfixturevalue("postgres")  # skips, or fails, where there is none
    over = threading.Event()
    with (
        own_database(kind, 0) as database,
        open_store(database.url, wait=0.2) as store,
    ):
        store.add_feedback(Given("u1", "i1", "click", 1.0, key="before"))
        (trouble,) = database.troubles
        striking = threading.Thread(target=strike, args=(database, trouble, 1.0, over))
        striking.start()
        time.sleep(0.5)
        with pytest.raises(StoreUnavailable):
            store.add_feedback(Given("u1", "i1", "click", 1.0, key="meanwhile"))
        striking.join()
        store.add_feedback(Given("u1", "i1", "click", 1.0, key="after"))
        assert [entry.key for entry in store.feedback()] == ["before", "after"]


def test_a_disk_that_is_full_is_told_and_nothing_acknowledged_is_lost() -> None:
    try:
        with own_database("sqlite", 4) as database, open_store(database.url) as store:
            full = database.troubles[1]
            store.add_feedback(Given("u1", "i1", "click", 1.0, key="before"))
            full.begin()
            with pytest.raises(StoreUnavailable, match=r"store\.db: .*full; free space on the disk"):
                store.put_histories({f"u{number}": [] for number in range(50_000)})
            full.end()
            store.add_feedback(Given("u1", "i1", "click", 1.0, key="after"))
            assert [entry.key for entry in store.feedback()] == ["before", "after"]
    except EngineError as error:
        pytest.skip(str(error))


def outcome(kind: Kind, ms: float, told: str = "200", is_right: bool = True, began: float = 0.0) -> Outcome:
    return Outcome(kind, began, ms / 1000, told, is_right)


def test_goals_are_met_and_missed() -> None:
    good = [outcome(NAMED[name], ms) for name, ms in ((DEEPREC, 100.0), (TRM, 10.0)) for _ in range(100)]
    steady = [Sample(float(at), 1000, 20) for at in range(40)]
    assert all(check.is_met for check in checks(good, steady, [], Feedback(5, 5, 0), 0))

    growing = [Sample(float(at), 1000 + 2 * at, 20 + at // 5) for at in range(40)]
    slow = [
        *good,
        *(outcome(NAMED[DEEPREC], 1500.0) for _ in range(5)),
        outcome(NAMED[TRM], 60.0, began=9),
    ] * 2
    found = checks([*slow, outcome(NAMED[TRM], 1.0, "500", False)], growing, [], Feedback(5, 4, 1), 1)
    missed = [check.name for check in found if not check.is_met]
    assert missed == [
        "unexpected answers", "acknowledged feedback that is lost", "feedback stored twice",
        "tracebacks in the log", "memory, last quarter beside second",
        "descriptors, last quarter beside second", "answers of the policy, p99",
    ]  # fmt: skip
    assert [check.name for check in found if check.of_time] == [
        "answers of the policy, p99", "answers of the TRM, p99",
    ]  # fmt: skip
    assert not is_passed(found, times_count=False)
    late = checks(slow, steady, [], Feedback(5, 5, 0), 0)
    assert is_passed(late, times_count=False)
    assert not is_passed(late, times_count=True)
    assert "1 of 5" in [check.found for check in found]
    # The second quarter's median is 1,029, the last one's 1,069.
    assert "+3.9 %" in [check.found for check in found]


def test_who_needs_the_store_may_lack_it_while_it_is_away_and_no_longer() -> None:
    window = Window("database killed", 10.0, 20.0)
    user, trm = NAMED["deeprec, a user"], NAMED[TRM]
    assert is_right(outcome(user, 500, "503", False, 19.9), [window])
    assert is_right(outcome(user, 500, "503", False, 9.9), [window])
    assert not is_right(outcome(user, 500, "503", False, 20.1), [window])
    assert not is_right(outcome(user, 500, "500", False, 15.0), [window])
    assert not is_right(outcome(trm, 500, "503", False, 15.0), [window])


def test_figures_of_a_minute_leave_out_what_met_a_trouble() -> None:
    window = Window("database killed", 10.0, 20.0)
    user = NAMED["deeprec, a user"]
    outcomes = [outcome(user, 100.0), outcome(user, 2000.0, began=11.0), outcome(user, 1.0, "500", False)]
    found = minute(3, outcomes, [Sample(1.0, 2**20, 7), Sample(2.0, 3 * 2**20, 9)], [window])
    assert (found.number, found.requests, found.wrong) == (3, 3, 1)
    assert (found.memory_mib, found.descriptors, found.troubles) == (3.0, 9, ("database killed",))
    assert found.deeprec_p99 == 99.0  # of 1 and 100 ms
    assert (found.trm_p50, found.trm_p99) == (None, None)
    row = next(row for row in by_kind(outcomes, [window]) if row.kind == user.name)
    assert (row.requests, row.answers, row.wrong) == (3, "2 x 200, 1 x 500", 1)


def test_what_this_process_holds() -> None:
    import os

    found = sample(os.getpid(), 1.0)
    assert found is None or (found.memory > 2**20 and found.descriptors > 2)
    assert sample(2**22 + 1, 1.0) is None
    (told,) = [check for check in checks([], [], [], Feedback(0, 0, 0), 0) if "memory" in check.name]
    assert told.found == "this system doesn't tell"


@pytest.mark.slow
def test_the_whole_command() -> None:
    words = ["bench", "soak", "--run", str(run_folder()), "--minutes", "0.3", "--trouble-every", "0.2"]
    result = CliRunner().invoke(
        app, [*words, "--database", "sqlite", "--clients", "4", "--no-times", "--json"]
    )
    assert '"kind": "feedback"' in result.stdout
    assert '"name": "acknowledged feedback that is lost"' in result.stdout
    assert '"found": "0 of' in result.stdout
