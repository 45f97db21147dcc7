"""Settings that take a name of ours, or a thing of your own by where it is."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from pydantic import AfterValidator

from deeprec.references import is_reference


@dataclass(frozen=True, slots=True)
class Choice:
    """Accepts one of `names`, or `package.module:name`; whoever uses the setting loads that."""

    names: tuple[str, ...]

    def __call__(self, value: str) -> str:
        """The value as it is; raises ValueError for another one."""
        if value in self.names or is_reference(value):
            return value
        near = difflib.get_close_matches(value, self.names, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ValueError(f"{hint}choose {' or '.join(self.names)}, or name your own as package.module:name")


def one_of_or_own(*names: str) -> AfterValidator:
    """Of a text that is one of `names`, or names a thing of your own."""
    return AfterValidator(Choice(names))
