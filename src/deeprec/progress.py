"""Progress bars: silent in the library, drawn on standard error once the command line asks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

_display: Progress | None = None
_hidden = False  # bars are


class Bar(Protocol):
    """What a long loop reports to."""

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Move on by `amount`; `note` is a short text shown behind the bar."""
        ...


class _Silent:
    def advance(self, amount: float = 1, note: str = "") -> None:
        """Show nothing."""


@contextmanager
def show_progress() -> Iterator[Console]:
    """Draw every bar opened inside this block (the command line's job); yields the console."""
    global _display
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    display = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),  # leaves room for the rest in 80 columns
        MofNCompleteColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )
    with display:
        _display = display
        try:
            yield display.console
        finally:
            _display = None


@contextmanager
def without_bars() -> Iterator[None]:
    """Bars that are opened inside this block are not drawn: for the parts of something that has its own."""
    global _hidden
    before, _hidden = _hidden, True
    try:
        yield
    finally:
        _hidden = before


def say(line: str) -> None:
    """Show a line above the bars. Shown only inside `show_progress`."""
    if _display is not None:
        _display.console.print(line, style="dim", highlight=False, markup=False)


@contextmanager
def progress_bar(description: str, total: float | None) -> Iterator[Bar]:
    """A bar of `total` units. Drawn only inside `show_progress`."""
    if _display is None or _hidden:
        yield _Silent()
        return
    display = _display
    task = display.add_task(description, total=total, note="")

    class _Drawn:
        def advance(self, amount: float = 1, note: str = "") -> None:
            display.update(task, advance=amount, note=note)

    try:
        yield _Drawn()
    finally:
        display.stop_task(task)
