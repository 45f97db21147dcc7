"""What fits into a cluster, and what is said where Ray is missing; the cluster itself: tests/pipeline/test_ray.py."""

from __future__ import annotations

import sys

import pytest

from deeprec.batch.cluster import _places, _start, ray_cluster
from deeprec.errors import ClusterError, MissingExtraError


@pytest.mark.parametrize(
    ("found", "threads", "workers", "places"),
    [
        ({"CPU": 8.0}, 1, None, (8, 0)),
        ({"CPU": 8.0}, 3, None, (2, 0)),
        ({"CPU": 8.0}, 3, 1, (1, 0)),
        ({"CPU": 64.0, "GPU": 4.0}, 2, None, (4, 1)),
        ({"CPU": 2.0, "GPU": 4.0}, 1, None, (2, 1)),
    ],
)
def test_as_many_workers_as_fit(
    found: dict[str, float], threads: int, workers: int | None, places: tuple[int, int]
) -> None:
    assert _places(found, threads, workers) == places


@pytest.mark.parametrize(
    ("found", "threads", "workers", "parts"),
    [
        ({"CPU": 2.0}, 1, 3, ("3 workers of 1 CPUs each", "2 CPUs", "--workers 2 fits")),
        ({"CPU": 2.0}, 4, None, ("1 workers of 4 CPUs each", "lower --threads")),
        ({}, 1, None, ("no CPU",)),
        ({"CPU": 8.0, "GPU": 1.0}, 1, 2, ("and a GPU each", "1 GPUs", "--workers 1 fits")),
    ],
)
def test_a_small_cluster_is_told_what_fits(
    found: dict[str, float], threads: int, workers: int | None, parts: tuple[str, ...]
) -> None:
    with pytest.raises(ClusterError) as caught:
        _places(found, threads, workers)
    assert all(part in str(caught.value) for part in parts), caught.value


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"\[ray\]"), ray_cluster("local", 1):
        pass


class Slow:
    """A Ray whose first starts take too long; then it says so in an Exception of no class of its own."""

    def __init__(self, late: int) -> None:
        self.late, self.said = late, []

    def init(self, **options: object) -> None:
        self.said.append(options["address"])
        if len(self.said) <= self.late:
            raise Exception("The current node timed out during startup.")

    def shutdown(self) -> None:
        """Nothing is left of a start that failed."""


def test_a_slow_machine_gets_another_start_and_an_address_does_not() -> None:
    ray = Slow(2)
    _start(ray, "local")
    assert ray.said == ["local"] * 3
    with pytest.raises(ClusterError, match=r"--ray local: no Ray cluster answers .*timed out during startup"):
        _start(Slow(3), "local")
    other = Slow(1)
    with pytest.raises(ClusterError, match="--ray host:1: no Ray cluster answers"):
        _start(other, "host:1")
    assert len(other.said) == 1
