"""The runs, the store and the caps of one service, and what all routes check."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi.concurrency import run_in_threadpool

from deeprec.serve.bodies import ItemSent, RecommendationRequest
from deeprec.serve.keys import Caller
from deeprec.serve.measures import Measures
from deeprec.serve.problems import Problem, wrong_field
from deeprec.serve.served import ServedRun, Wanted
from deeprec.serve.users import StoreDoor
from deeprec.settings.serve import ServeConfig


@dataclass(frozen=True)
class Service:
    """What is served. The first run is the default; the caps are its own."""

    runs: tuple[ServedRun, ...]
    door: StoreDoor
    measures: Measures

    @property
    def default(self) -> ServedRun:
        """The run that answers where none is named."""
        return self.runs[0]

    @property
    def caps(self) -> ServeConfig:
        """How much may be asked for."""
        return self.default.config.serve

    def run(self, name: str | None) -> ServedRun:
        """The run that a body names; raises Problem (422) for an unknown one."""
        found = self.default if name is None else self._named(name)
        if found is None:
            raise wrong_field("run", name, f"no such run is served; choose {self._names()}")
        return found

    def run_at(self, name: str) -> ServedRun:
        """The run that a path names; raises Problem (404) for an unknown one."""
        found = self._named(name)
        if found is None:
            raise Problem(404, f"no run '{name[:80]}' is served; choose {self._names()}")
        return found

    async def wanted(self, run: ServedRun, sent: RecommendationRequest, caller: Caller) -> Wanted:
        """A request, checked, with the history that it names or brings."""
        started = time.monotonic()
        caps, catalog = self.caps, run.dataset.catalog
        if (sent.user_id is None) == (sent.history is None):
            raise wrong_field(
                "user_id", sent.user_id, "give either user_id or history, not both and not neither"
            )
        k = min(run.config.rollout.recommended, catalog.n_items, caps.k) if sent.k is None else sent.k
        _at_most("k", k, catalog.n_items, "items in the catalogue")
        _at_most("k", k, caps.k, "items in an answer")
        if sent.max_turns is not None:
            _at_most("max_turns", sent.max_turns, caps.turns, "retrievals")
        if sent.deadline_ms is not None:
            _at_most("deadline_ms", sent.deadline_ms, int(1000 * caps.max_deadline), "milliseconds")
        seconds = caps.deadline if sent.deadline_ms is None else sent.deadline_ms / 1000
        if sent.history is not None:
            self.check_titles(sent.history)
            # Ids are looked up at once; what an unknown title may mean takes longer to find out.
            if all(item.title is None for item in sent.history):
                example = run.users.anonymous(sent.history)
            else:
                example = await run_in_threadpool(run.users.anonymous, sent.history)
        else:
            example = await run.users.example(sent.user_id or "", caller.tenant)
        return Wanted(example, k, started + seconds, sent.mode, sent.max_turns, caller.name, started)

    def check_titles(self, history: Sequence[ItemSent]) -> None:
        """Raise Problem for a title that is too long."""
        for place, item in enumerate(history):
            if item.title is not None and len(item.title) > self.caps.title:
                raise wrong_field(
                    f"history.{place}.title", item.title, f"at most {self.caps.title} characters"
                )

    def close(self) -> None:
        """Stop all threads and give up the store."""
        for run in self.runs:
            run.close()
        self.door.close()

    def _named(self, name: str) -> ServedRun | None:
        return next((run for run in self.runs if run.name == name), None)

    def _names(self) -> str:
        return ", ".join(f"'{run.name}'" for run in self.runs)


def _at_most(field: str, value: int, most: int, what: str) -> None:
    if value > most:
        raise wrong_field(field, value, f"at most {most} {what}")
