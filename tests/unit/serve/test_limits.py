"""What stands before the routes, and what a title search finds."""

from __future__ import annotations

import pytest

from deeprec.data.catalog import Catalog
from deeprec.errors import ConfigError, DataError, RunError, StoreError, StoreUnavailable
from deeprec.serve.keys import check_key, is_loopback
from deeprec.serve.limits import Buckets
from deeprec.serve.problems import Problem, clean, plain, problem_of
from deeprec.serve.titles import TitleSearch
from deeprec.types import Item


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class TestBuckets:
    def test_a_burst_then_the_rate(self) -> None:
        clock = Clock()
        buckets = Buckets(2.0, 3, clock)
        assert [buckets.wait("a") for _ in range(4)] == [0, 0, 0, 0.5]
        clock.now += 0.4
        assert buckets.wait("a") == pytest.approx(0.1)
        clock.now += 0.1
        assert buckets.wait("a") == 0
        clock.now += 60
        assert [buckets.wait("a") > 0 for _ in range(4)] == [False, False, False, True]

    def test_clients_have_their_own(self) -> None:
        buckets = Buckets(1.0, 1, Clock())
        assert [buckets.wait(client) > 0 for client in ("a", "b", "a")] == [False, False, True]

    def test_who_is_remembered_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("deeprec.serve.limits._CLIENTS", 2)
        buckets = Buckets(1.0, 1, Clock())
        assert [buckets.wait(client) for client in ("a", "b", "c", "a")] == [0, 0, 0, 0]
        assert buckets.wait("c") == 1

    def test_no_rate_no_limit(self) -> None:
        buckets = Buckets(0.0, 1, Clock())
        assert not any(buckets.wait("a") for _ in range(9))


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.0.1", False), ("example.org", False), ("localhost.example.org", False)],
)  # fmt: skip
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_keys() -> None:
    assert check_key("  0123456789abcdef\n") == "0123456789abcdef"
    for key in ("", "0123456789abcde", "0123456789 abcdef", "0123456789abcdé…"):
        with pytest.raises(ConfigError, match="16 or more"):
            check_key(key)


class TestProblems:
    def test_values_are_shortened_and_can_be_written(self) -> None:
        assert plain("x" * 200) == "x" * 100 + "..."
        assert plain([1, 2]) == "2 entries"
        assert plain(float("nan")) == "nan"
        assert plain(2**70) == "a very large number"
        assert (plain(True), plain(None), plain(3), plain(1.5)) == (True, None, 3, 1.5)
        assert clean("\ud800a") == "\\ud800a"

    def test_what_a_client_is_told_of_our_errors(self) -> None:
        assert problem_of(DataError("line 3: wrong")).status == 422
        for error in (StoreUnavailable("/secret: locked"), StoreError("/secret"), RunError("/secret")):
            found = problem_of(error)
            assert found.status == 503
            assert "secret" not in found.detail


class TestTitles:
    TITLES = (
        "Alien (1979)",
        "Aliens (1986)",
        "The Alien (1999)",
        "Amélie",
        "Inalienable",
        "Emma (1996)",
        "Emma (2020)",
    )

    @pytest.fixture
    def search(self) -> TitleSearch:
        items = [
            Item(number, f"id{number}", "Emma" if "Emma" in title else title, title)
            for number, title in enumerate(self.TITLES, 1)
        ]
        return TitleSearch(Catalog(tuple(items)))

    @pytest.mark.parametrize(
        ("query", "expected"),
        [("alien", [1, 2, 3, 5]), ("ALIENS (1986)", [2]), ("amelie", [4]), ("Amélie", [4]), ("nothing", []),
         ("  ", [1, 2, 3, 4])],
    )  # fmt: skip
    def test_equal_then_beginning_then_word_then_part(
        self, search: TitleSearch, query: str, expected: list[int]
    ) -> None:
        assert search.find(query, 4) == expected

    def test_one_item_or_a_problem(self, search: TitleSearch) -> None:
        assert search.resolve("h", "id4", None) == 4
        assert search.resolve("h", None, "alien (1979)") == 1
        assert search.resolve("h", None, "Emma (2020)") == 7
        for title, remedy in (
            ("emma", "'Emma (1996)', 'Emma (2020)'"),
            ("Alein (1979)", "'Alien (1979)'"),
            ("Zz", "/v1/items"),
        ):
            with pytest.raises(Problem) as raised:
                search.resolve("history.2", None, title)
            assert raised.value.errors[0].field == "history.2.title"
            assert remedy in raised.value.errors[0].remedy
