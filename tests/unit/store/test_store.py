"""What a store promises, in SQLite and in PostgreSQL."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from deeprec.errors import DataError
from deeprec.store import Feedback, HistoryEntry, KnownUser, Store, open_store
from deeprec.store.base import TAKEN
from deeprec.store.schema import latest_version

ENTRIES = (HistoryEntry("i3", 10.0, 4.0), HistoryEntry("i1", 10.0), HistoryEntry("i2"))
CLICK = Feedback("u1", "i5", "click", 100.0, run="shop", request_id="r1")
RATING = Feedback("u1", "i5", "rating", 120.5, value=3.5)


def test_an_empty_store_knows_nobody(store: Store) -> None:
    assert store.history("u1") is None
    assert not store.is_deleted("u1")
    assert list(store.histories()) == []
    assert list(store.feedback()) == []
    store.ping()


def test_a_history_comes_back_as_it_was_put(store: Store, store_url: str) -> None:
    store.put_history("u1", ENTRIES)
    assert store.history("u1") == ENTRIES
    with open_store(store_url, create=False) as again:
        assert again.history("u1") == ENTRIES
    assert store.history("u2") is None


def test_putting_a_history_replaces_the_one_before(store: Store) -> None:
    store.put_history("u1", ENTRIES)
    store.put_history("u1", ENTRIES[:1])
    assert store.history("u1") == ENTRIES[:1]


def test_many_histories_are_put_together_or_not_at_all(store: Store) -> None:
    store.put_history("u1", ENTRIES)
    store.put_histories({"u1": ENTRIES[:1], "u2": ENTRIES, "u3": ()})
    assert [store.history(user) for user in ("u1", "u2", "u3")] == [ENTRIES[:1], ENTRIES, ()]
    with pytest.raises(DataError, match="goes back in time"):
        store.put_histories({"u4": ENTRIES, "u1": [HistoryEntry("i1", 9.0), HistoryEntry("i2", 8.0)]})
    assert (store.history("u4"), store.history("u1")) == (None, ENTRIES[:1])


def test_an_empty_history_is_a_history(store: Store) -> None:
    store.put_history("u1", ENTRIES)
    store.put_history("u1", ())
    assert store.history("u1") == ()
    assert [(stored.user_id, stored.entries) for stored in store.histories()] == [("u1", ())]


def test_a_user_with_feedback_alone_has_no_history(store: Store) -> None:
    store.add_feedback(CLICK)
    assert store.history("u1") is None
    assert list(store.histories()) == []


@pytest.mark.parametrize("user_id", ["Zoë", "用户", "a b/c?d=%00'\";--", "x" * 256, "🙂" * 256])
def test_ids_are_kept_sign_by_sign(store: Store, user_id: str) -> None:
    entry = HistoryEntry(user_id)
    store.put_history(user_id, [entry])
    feedback = Feedback(user_id, user_id, "click", 1.0, key=user_id[:128], run=user_id)
    store.add_feedback(feedback)
    assert store.history(user_id) == (entry,)
    assert list(store.feedback(user_id)) == [feedback]
    assert store.delete_user(user_id)


def test_numbers_are_kept_to_the_last_bit(store: Store) -> None:
    entry = HistoryEntry("i1", 1795541471.731364, 1 / 3)
    store.put_history("u1", [entry])
    assert store.history("u1") == (entry,)


def test_feedback_comes_back_in_the_order_of_time(store: Store) -> None:
    other = Feedback("u2", "i1", "impression", 110.0)
    assert store.add_feedback(RATING, CLICK) == 2
    assert store.add_feedback(other) == 1
    assert list(store.feedback()) == [CLICK, other, RATING]
    assert list(store.feedback("u1")) == [CLICK, RATING]
    assert list(store.feedback("u3")) == []
    assert list(store.feedback(since=110.0)) == [other, RATING]
    assert list(store.feedback("u1", since=110.0)) == [RATING]
    assert store.add_feedback() == 0


def test_many_pages_of_feedback_and_histories_come_back_once_each(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeprec.store.sql._PAGE", 3)
    sent = [Feedback(f"u{n % 4}", f"i{n}", "click", float(n // 5)) for n in range(12)]  # times tie over pages
    assert store.add_feedback(*sent) == 12
    assert list(store.feedback()) == sent
    for n in range(9):
        store.put_history(f"u{n}", [HistoryEntry(f"i{n}")] * (n % 3))
    found = [(stored.user_id, len(stored.entries)) for stored in store.histories()]
    assert sorted(found) == [(f"u{n}", n % 3) for n in range(9)]


def test_the_same_key_is_stored_once_for_each_user(store: Store) -> None:
    keyed = replace(CLICK, key="k1")
    assert store.add_feedback(keyed, keyed) == 1
    assert store.add_feedback(replace(keyed, item_id="i9"), RATING) == 1
    assert store.add_feedback(replace(keyed, user_id="u2")) == 1
    assert list(store.feedback("u1")) == [keyed, RATING]
    assert store.add_feedback(RATING) == 1  # without a key the same again is another event


def test_a_forgotten_user_is_gone_and_stays_forgotten(store: Store, store_url: str) -> None:
    store.put_history("u1", ENTRIES)
    store.put_history("u2", ENTRIES)
    store.add_feedback(CLICK, replace(CLICK, user_id="u2"))
    assert store.delete_user("u1")
    assert not store.delete_user("u1")
    for opened in (store, open_store(store_url)):
        assert opened.is_deleted("u1")
        assert opened.history("u1") is None
        assert list(opened.feedback("u1")) == []
        assert [stored.user_id for stored in opened.histories()] == ["u2"]
        assert [feedback.user_id for feedback in opened.feedback()] == ["u2"]
        assert opened.deleted(["u0", "u1", "u2"]) == {"u1"}
    opened.close()


def test_a_user_of_the_training_data_alone_can_be_forgotten(store: Store) -> None:
    assert not store.delete_user("u1")
    assert store.is_deleted("u1")


def test_feedback_of_a_forgotten_user_is_not_kept(store: Store) -> None:
    store.delete_user("u1")
    assert store.add_feedback(CLICK, replace(CLICK, user_id="u2")) == 1
    assert [feedback.user_id for feedback in store.feedback()] == ["u2"]
    assert store.is_deleted("u1")


def test_a_new_history_is_a_fresh_start(store: Store) -> None:
    store.put_history("u1", ENTRIES)
    store.add_feedback(CLICK)
    store.delete_user("u1")
    store.put_history("u1", ENTRIES[:1])
    assert not store.is_deleted("u1")
    assert store.history("u1") == ENTRIES[:1]
    assert list(store.feedback()) == []
    assert store.add_feedback(CLICK) == 1


def test_nothing_of_a_forgotten_user_is_left_in_any_table(store: Any, store_url: str) -> None:
    """Whatever tables there are: all text in the database is looked at."""
    from sqlalchemy import inspect, text

    known = Feedback(
        "secret-user", "secret-item", "rating", 1.0, 2.0, "secret-run", "secret-r", "secret-k", "secret-w"
    )
    store.put_history("secret-user", [HistoryEntry("secret-item")])
    store.add_feedback(known)

    def all_text() -> str:
        with store._connections.to_read() as connection:
            tables = inspect(connection).get_table_names()
            assert len(tables) == 5
            return str([connection.execute(text(f"SELECT * FROM {table}")).all() for table in tables])

    assert all_text().count("secret-") == 7
    store.delete_user("secret-user")
    assert "secret-" not in all_text()


def test_counts(store: Store, store_url: str) -> None:
    store.put_history("u1", ENTRIES)
    store.put_history("u2", ())
    store.add_feedback(CLICK, RATING, replace(CLICK, user_id="u3"))
    store.delete_user("u4")
    info = store.info()
    assert (info.users, info.forgotten, info.histories, info.history_entries) == (3, 1, 2, 3)
    assert info.feedback == {"impression": 0, "click": 2, "rating": 1}
    assert info.schema == latest_version()
    assert info.url == store_url == store.url


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda store: store.history(""), "user_id is empty"),
        (lambda store: store.history("a\0b"), "can't be stored"),
        (lambda store: store.is_deleted("\ud800"), "can't be stored"),
        (lambda store: store.delete_user("x" * 257), "257 characters; at most 256"),
        (lambda store: store.feedback(" "), "user_id is empty"),
        (lambda store: store.put_history("u1", [HistoryEntry("")]), "item_id is empty"),
        (lambda store: store.put_history("u1", [HistoryEntry("i1", float("nan"))]), "timestamp = nan"),
        (lambda store: store.put_history("u1", [HistoryEntry("i1", -1.0)]), "negative"),
        (lambda store: store.put_history("u1", [HistoryEntry("i1", 1.6e12)]), "seconds since 1970"),
        (lambda store: store.put_history("u1", [HistoryEntry("i1", 1.0, 1e10)]), "rating = 1e+10"),
        (lambda store: store.history("\x1c\u200b"), "user_id is empty"),
        (lambda store: store.put_history("u1", [HistoryEntry("i1", 1.0, float("inf"))]), "rating = inf"),
        (
            lambda store: store.put_history("u1", [HistoryEntry("i1", 2.0), HistoryEntry("i2", 1.0)]),
            "entry 1: goes back in time",
        ),
        (lambda _: Feedback("u1", "i1", "clik", 1.0), "kind = 'clik'; known: impression"),
        (lambda _: Feedback("u1", "i1", "click", 1.0, value=1.0), "a click takes no value"),
        (lambda _: Feedback("u1", "i1", "rating", 1.0), "a rating needs a value"),
        (lambda _: Feedback("u1", "i1", "rating", 1.0, value=float("nan")), "value = nan"),
        (lambda _: Feedback("u1", "i1", "click", float("inf")), "time = inf"),
        (lambda _: Feedback("u1", "i1", "click", 1.0, key="k" * 129), "key has 129 characters"),
        (lambda _: Feedback("u1", "i1", "click", 1.0, wish="w" * 501), "wish has 501 characters"),
        (lambda _: Feedback("u1", "i1", "click", 1.0, wish=" "), "wish is empty"),
    ],
)
def test_what_no_database_can_keep_is_refused(
    store: Store, call: Callable[[Store], object], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        call(store)
    assert message in str(caught.value)
    assert list(store.histories()) == []


def test_all_of_a_call_is_stored_or_nothing(store: Any) -> None:
    wrong = replace(CLICK, user_id="u2")
    object.__setattr__(wrong, "kind", "clik")  # past our own check: the database has one too
    with pytest.raises(Exception, match="deeprec_feedback"):
        store.add_feedback(CLICK, wrong)
    assert list(store.feedback()) == []
    store.put_history("u1", ENTRIES)
    broken = HistoryEntry("i1")
    object.__setattr__(broken, "item_id", None)
    with pytest.raises(Exception, match="item_id"):
        store.put_history("u1", [ENTRIES[0], broken])
    assert store.history("u1") == ENTRIES


def test_threads_share_a_store(store: Store) -> None:
    def work(number: int) -> None:
        user = f"u{number % 3}"
        store.put_history(user, [HistoryEntry(f"i{number}")] * 5)
        store.add_feedback(Feedback(user, f"i{number}", "click", float(number), key=str(number // 3)))
        assert len({entry.item_id for entry in store.history(user) or ()}) == 1  # never half of two

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(work, range(60)))
    assert store.info().users == 3
    assert store.info().feedback["click"] == 60
    assert store.info().history_entries == 15


def test_many_users_in_opposite_orders_do_not_block_each_other(store: Store) -> None:
    users = [f"u{number}" for number in range(6)]

    def send(number: int) -> int:
        order = users if number % 2 else users[::-1]
        return store.add_feedback(*(Feedback(user, "i1", "impression", 1.0) for user in order))

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(send, range(30))) == 180


def test_nothing_slips_in_behind_a_deletion(store: Store) -> None:
    """Feedback that races with the deletion is either deleted with it or not kept."""
    for number in range(15):
        user = f"u{number}"
        store.put_history(user, ENTRIES)
        start = threading.Barrier(2)

        def late(user: str = user, start: threading.Barrier = start) -> None:
            start.wait()
            for moment in range(4):
                store.add_feedback(replace(CLICK, user_id=user, time=float(moment)))

        thread = threading.Thread(target=late)
        thread.start()
        start.wait()
        store.delete_user(user)
        thread.join()
        assert list(store.feedback(user)) == []
        assert store.is_deleted(user)


def test_nothing_of_a_user_is_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    store.put_history("secret-user", [HistoryEntry("secret-item")])
    store.add_feedback(Feedback("secret-user", "secret-item", "click", 1.0))
    store.history("secret-user")
    store.delete_user("secret-user")
    assert "secret" not in caplog.text


def test_what_is_known_of_many_at_once(store: Store) -> None:
    store.put_history("u1", ENTRIES)
    store.put_history("u2", ())
    store.add_feedback(
        CLICK, RATING, replace(CLICK, user_id="u3"), replace(CLICK, user_id="u4", kind="impression")
    )
    store.delete_user("u5")
    known = store.known(["u1", "u2", "u3", "u4", "u5", "u6"])
    assert known == {
        "u1": KnownUser(ENTRIES, (CLICK, RATING)),
        "u2": KnownUser(()),
        "u3": KnownUser(None, (replace(CLICK, user_id="u3"),)),
        "u4": KnownUser(),
        "u5": KnownUser(is_deleted=True),
    }
    assert store.known([]) == {}


def test_of_many_clicks_the_latest_are_read(store: Store) -> None:
    clicks = [replace(CLICK, item_id=f"i{number}", time=float(number)) for number in range(TAKEN + 5)]
    store.add_feedback(*clicks, *(replace(CLICK, kind="impression", time=5e8) for _ in range(3)))
    assert list(store.known(["u1"])["u1"].taken) == clicks[5:]


def test_users_are_found_by_a_part_of_their_id(store: Store) -> None:
    for user in ("xab", "abx", "ab", "b", "AB", "a%b"):
        store.put_history(user, ENTRIES)
    store.add_feedback(replace(CLICK, user_id="abc"), replace(CLICK, user_id="abd", kind="impression"))
    store.delete_user("abx")
    assert store.find_users("ab", 10) == ["ab", "abc", "xab"]
    assert store.find_users("ab", 2) == ["ab", "abc"]
    assert store.find_users("", 3) == ["xab", "ab", "b"]
    assert store.find_users("%", 10) == ["a%b"]
    assert store.find_users("' OR 1=1", 10) == []


def test_tenants_never_meet(store: Store) -> None:
    one, two = store.of("one"), store.of("two")
    assert (store.tenant, one.tenant) == ("", "one")
    store.put_history("u1", ENTRIES)
    one.put_history("u1", ENTRIES[:1])
    two.add_feedback(CLICK, replace(CLICK, user_id="u2"))
    assert (store.history("u1"), one.history("u1"), two.history("u1")) == (ENTRIES, ENTRIES[:1], None)
    assert [sorted(view.find_users("u", 9)) for view in (store, one, two)] == [["u1"], ["u1"], ["u1", "u2"]]
    assert [len(list(view.histories())) for view in (store, one, two)] == [1, 1, 0]
    assert [len(list(view.feedback())) for view in (store, one, two)] == [0, 0, 2]
    assert [view.info().users for view in (store, one, two)] == [1, 1, 2]
    assert two.info().feedback["click"] == 2
    assert one.delete_user("u1")
    assert not one.delete_user("u2")
    assert [view.is_deleted("u1") for view in (store, one, two)] == [False, True, False]
    assert one.deleted(f"u{number}" for number in range(1000)) == {"u1", "u2"}
    assert store.history("u1") == ENTRIES
    assert list(two.feedback("u1")) == [CLICK]
    assert store.tenants() == ["", "one", "two"]
    assert len({view.pseudonym("u1") for view in (store, one, two)}) == 3
    assert one.pseudonym("u1") == store.of("one").pseudonym("u1")


@pytest.mark.parametrize("name", ["a b", "a/b", "-a", "a\0b", "x" * 65, " ", "ä"])
def test_names_that_no_tenant_may_have(store: Store, name: str) -> None:
    with pytest.raises(DataError, match="tenant = "):
        store.of(name)
