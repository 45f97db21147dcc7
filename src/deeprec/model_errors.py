"""What the libraries of models raise for files that are not what they expect."""

from __future__ import annotations


def is_unreadable(error: Exception) -> bool:
    """Whether files are to blame for what a library raised; anything else is a mistake of ours.

    >>> is_unreadable(KeyError("model_type")), is_unreadable(Exception("missing field")), is_unreadable(NameError())
    (True, True, False)
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    kinds = (
        OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError,
        AssertionError, ImportError, MemoryError, SafetensorError, StrictDataclassError,
    )  # fmt: skip
    return isinstance(error, kinds) or type(error) is Exception  # tokenizers has no kinds of its own
