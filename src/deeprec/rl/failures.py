"""What ends a training without being its fault, told with the place and a remedy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError

from deeprec.errors import DeepRecError, TrainingError
from deeprec.space import naming, refuses, remedy_of

_GOES_ON = "then the same command goes on from the last checkpoint"


@contextmanager
def named_failures(checkpoints: Path, out_of_memory: str) -> Iterator[None]:
    """Raise TrainingError, naming what failed, where memory or disk run out or a checkpoint can't be read.

    `checkpoints` is the folder that the training writes them to; `out_of_memory` is what to say, and what helps.
    Errors that already name their file keep it: a log can fail as well as a checkpoint.
    """
    try:
        with naming(checkpoints):
            yield
    except DeepRecError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TrainingError(out_of_memory) from error
    except OSError as error:
        if error.filename is None:
            raise
        raise TrainingError(
            f"{error.filename}: can't be written ({error.strerror or error}); {remedy_of(error)}, {_GOES_ON}"
        ) from error
    except (RuntimeError, SafetensorError, UnpicklingError) as error:
        told = _told(error, checkpoints, out_of_memory)
        if told is None:
            raise
        raise TrainingError(told) from error


def _told(error: Exception, checkpoints: Path, out_of_memory: str) -> str | None:
    """What an error of torch or safetensors means, by its words: neither has a class for it. None: something else."""
    text = str(error)
    if "can't allocate memory" in text:  # torch's words for it without a GPU
        return out_of_memory
    if isinstance(error, RuntimeError) and "PytorchStreamReader" not in text:
        return None
    return (
        f"{checkpoints}: the latest checkpoint can't be read ({_first(text)}); delete it, "
        "then the same command goes on from the one before, or begins anew"
    )


def _first(text: str) -> str:
    return text.splitlines()[0]


@contextmanager
def raised_by_callers() -> Iterator[None]:
    """Within the block a thread that the disk refuses dies silently, as TensorBoard's does: its writer raises it then.

    Python would print a traceback besides.
    """
    former = threading.excepthook

    def hook(told: threading.ExceptHookArgs) -> None:
        if told.exc_value is None or not refuses(told.exc_value):
            former(told)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = former
