"""What the disk refuses to a thread of TensorBoard's is raised where it is waited for, and printed nowhere."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from file_limits import files_up_to

from deeprec.rl.failures import raised_by_callers

pytest.importorskip("torch.utils.tensorboard", reason="the extra train is not installed")


def test_a_full_disk_is_raised_by_the_writer_and_not_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with (
        files_up_to(16),
        raised_by_callers(),
        pytest.raises(OSError, match="File too large"),
        SummaryWriter(str(tmp_path)),
    ):
        pass
    assert "Traceback" not in capfd.readouterr().err


def test_other_errors_of_threads_are_told_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: told.append(arguments.exc_type))

    def fail() -> None:
        raise ValueError

    with raised_by_callers():
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    assert told == [ValueError]
