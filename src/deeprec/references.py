"""Things named as `package.module:name`, as entry points are: parts of your own, and our own that load late."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from inspect import signature
from typing import Any

from deeprec.errors import ConfigError


def is_reference(text: str) -> bool:
    """Whether a name is one of a thing in a module.

    >>> is_reference("own_trm:build"), is_reference("popularity"), is_reference("own_trm:")
    (True, False, False)
    """
    module, _, name = text.partition(":")
    return all(part.isidentifier() for part in (*module.split("."), *name.split(".")))


def load_reference(reference: str, setting: str) -> Any:
    """What `package.module:name` names; `setting` is what names it, for errors.

    Raises ConfigError for another form, a module that can't be imported, and a name that it lacks.
    Whatever else the module raises while it is imported is a fault of its own, and comes as it is.
    """
    place = f"{setting} = '{reference}'"
    if not is_reference(reference):
        raise ConfigError(f"{place}: name a thing in a module as package.module:name")
    module_name, _, path = reference.partition(":")
    try:
        found: Any = import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"{place}: can't import '{module_name}' ({error}); install it, or put its folder on PYTHONPATH"
        ) from None
    except SyntaxError as error:
        raise ConfigError(f"{place}: '{module_name}' is no valid Python ({error}); mend it") from None
    for name in path.split("."):
        if not hasattr(found, name):
            raise ConfigError(f"{place}: module '{module_name}' has no attribute '{path}'; check the name")
        found = getattr(found, name)
    return found


def load_function(
    reference: str, setting: str, arguments: Sequence[str], keywords: Sequence[str] = ()
) -> Callable[..., Any]:
    """The same for something that is called; raises ConfigError for what can't be called with these, too."""
    found, place = load_reference(reference, setting), f"{setting} = '{reference}'"
    if not callable(found):
        raise ConfigError(f"{place}: is a {type(found).__name__}, not callable; name a function")
    function: Callable[..., Any] = found
    try:
        signature(function).bind(*arguments, **dict.fromkeys(keywords))
    except TypeError as error:
        wanted = ", ".join((*arguments, *(f"{name}=..." for name in keywords)))
        raise ConfigError(f"{place}: can't be called with ({wanted}): {error}") from None
    except ValueError:
        pass  # one that is written in C says nothing of its arguments
    return function


def check_members(found: object, contract: str, members: Sequence[str], place: str) -> None:
    """Raise ConfigError, naming what it lacks, for an object that doesn't fulfil a contract."""
    lacks = [name for name in members if not hasattr(found, name)]
    if lacks:
        raise ConfigError(
            f"{place}: gave a {type(found).__name__}, which is no {contract}: it lacks {', '.join(lacks)}; "
            "see docs/howto/extend.md"
        )
