"""The exception family: every error that deeprec raises on purpose.

Each class also derives from the builtin that fits, so that code which catches
`ValueError` or `OSError` goes on working. A message names the place, the offending
value and the remedy; the command line prints it as one line, without a traceback.
"""

from deeprec.distribution import install_command


class DeepRecError(Exception):
    """Base of all errors raised by deeprec on purpose."""


class ConfigError(DeepRecError, ValueError):
    """A setting is unknown, has the wrong type, or contradicts another one."""


class DataError(DeepRecError, ValueError):
    """Source data or a prepared data set can't be used as it is."""


class DownloadError(DeepRecError, OSError):
    """A known data set could not be fetched; the message names the manual way."""


class RunError(DeepRecError, RuntimeError):
    """A run folder is missing, incomplete, locked, or belongs to something else."""


class RunLocked(RunError):  # noqa: N818 - a state that passes, not a mistake
    """Another process writes into the run just now; the same call succeeds once it has finished."""


class RetrievalError(DeepRecError, ValueError):
    """A retriever was asked for something that it can't answer."""


class PolicyError(DeepRecError, ValueError):
    """A policy, its tokenizer or its checkpoint can't be used."""


class EngineError(DeepRecError, RuntimeError):
    """Token generation failed for a reason that is not the policy's own doing."""


class RewardError(DeepRecError, ValueError):
    """A reward could not be computed; it is never replaced by zero."""


class TrainingError(DeepRecError, RuntimeError):
    """A training run can't start, go on, or resume."""


class EvaluationError(DeepRecError, ValueError):
    """An evaluation or a comparison of results makes no sense as asked."""


class StoreError(DeepRecError, RuntimeError):
    """A store of histories and feedback can't be used: its URL, its database, or its schema."""


class StoreUnavailable(StoreError):  # noqa: N818 - a state that passes, not a mistake
    """A store is locked or can't be reached just now; the same call may succeed later."""


class HubError(DeepRecError, ValueError):
    """A run can't be pushed or pulled: its place, its files, or the hub."""


class ClusterError(DeepRecError, RuntimeError):
    """A cluster can't be reached, is too small for what is asked, or loses its workers."""


class MissingExtraError(DeepRecError, ImportError):
    """A feature needs an optional dependency that is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra that is not installed: {install_command(extra)}")


def first_line(error: BaseException) -> str:
    """What an error of another library says, in one line."""
    return str(error).strip().split("\n")[0] or type(error).__name__
