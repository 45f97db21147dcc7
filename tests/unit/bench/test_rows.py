from __future__ import annotations

from deeprec.bench.rows import make_row
from deeprec.bench.timing import call_ms, each_ms


def test_the_ratio_is_ours_by_theirs() -> None:
    row = make_row("fit", 30.0, "tokens/s", "peer", 12.0)
    assert (row.value, row.peer_value, row.ratio) == (30.0, 12.0, 2.5)


def test_a_peer_that_is_missing_or_zero_gives_no_ratio() -> None:
    missing = make_row("fit", 30.0, "tokens/s", "peer, not installed", None)
    assert (missing.peer_value, missing.ratio) == (None, None)
    assert make_row("recall", 0.5, "share", "peer", 0.0).ratio is None


def test_timing_warms_up_once_and_then_tries_again() -> None:
    seen: list[int] = []
    assert call_ms(lambda: seen.append(0), 3) >= 0
    assert each_ms(seen.append, [1, 2, 3]) >= 0
    assert seen == [0] * 4 + [1] + [1] * 3 + [2] * 3 + [3] * 3
