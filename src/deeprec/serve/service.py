"""The runs, the store and the caps of one service: loading, loading anew, and what all routes check."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from fastapi.concurrency import run_in_threadpool

from deeprec.errors import DeepRecError
from deeprec.serve.bodies import ItemSent, RecommendationRequest
from deeprec.serve.keys import Caller
from deeprec.serve.limits import TITLE, TURNS
from deeprec.serve.measures import Measures
from deeprec.serve.problems import Problem, wrong_field
from deeprec.serve.run_bodies import Readiness, RunLoaded
from deeprec.serve.served import ServedRun, Wanted
from deeprec.serve.users import StoreDoor
from deeprec.settings.serve import ServeConfig

log = logging.getLogger("deeprec.serve")
Load = Callable[[], tuple[ServedRun, ...]]
_MOMENT = 0.2  # seconds between two looks at whether anybody is left
_SPARE = 5.0  # seconds beyond the longest deadline that a former run is kept for its requests


class Service:
    """What is served. The first run is the default; the caps are its own, as they were at the start."""

    def __init__(
        self,
        runs: Sequence[ServedRun],
        door: StoreDoor,
        measures: Measures,
        caps: ServeConfig | None = None,
        *,
        load: Load | None = None,
        load_again: Load | None = None,
    ) -> None:
        """`load` makes the runs where `runs` are none yet, `load_again` those that later take their place."""
        self.runs = tuple(runs)
        self.door, self.measures = door, measures
        self.caps = caps or self.runs[0].config.serve
        self._load, self._load_again = load, load_again
        self._former: list[ServedRun] = []  # that still answer who asked them
        self._turn, self._closing = threading.Lock(), threading.Event()
        self._problem: str | None = None

    @property
    def default(self) -> ServedRun:
        """The run that answers where none is named; raises Problem (503) before it is loaded."""
        if not self.runs:
            raise Problem(503, "the run is being loaded; try again soon", headers={"Retry-After": "2"})
        return self.runs[0]

    @property
    def is_loading(self) -> bool:
        """Whether runs are being loaded."""
        return self._turn.locked()

    def load(self) -> None:
        """Load the runs for the first time, in the caller's thread. Raises what is wrong with them."""
        with self._turn:
            self.runs = self._load() if self._load else self.runs

    def start_reload(self) -> bool:
        """Load the runs anew in a thread of its own, while the present ones answer; False where that goes on already.

        Where it fails the present ones stay, and the log says why.
        """
        if not self.runs or self._load_again is None or not self._turn.acquire(blocking=False):
            return False
        again = self._load_again
        threading.Thread(target=self._reload, args=(again,), name="deeprec-reload", daemon=True).start()
        return True

    def readiness(self) -> Readiness:
        """What answers now, and whether something else is about to. Raises Problem (503) where nothing does."""
        _ = self.default
        for run in self.runs:
            if not run.is_ready:
                raise Problem(503, f"the policy of run '{run.name}' has stopped; restart the service")
        return Readiness(
            loading=self.is_loading,
            problem=self._problem,
            runs=[
                RunLoaded(name=run.name, stage=run.stage, version=run.version, loaded=run.loaded)
                for run in self.runs
            ],
        )

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
            _at_most("max_turns", sent.max_turns, TURNS, "retrievals")
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
        example = replace(example, wish=sent.wish)
        return Wanted(example, k, started + seconds, sent.mode, sent.max_turns, caller.name, started)

    def check_titles(self, history: Sequence[ItemSent]) -> None:
        """Raise Problem for a title that is too long."""
        for place, item in enumerate(history):
            if item.title is not None and len(item.title) > TITLE:
                raise wrong_field(f"history.{place}.title", item.title, f"at most {TITLE} characters")

    def close(self) -> None:
        """Stop all threads and give up the store."""
        self._closing.set()
        for run in (*self.runs, *self._former):
            run.close()
        self.door.close()

    def _reload(self, load: Load) -> None:
        """In a thread of its own, which holds the turn."""
        former = self.runs
        try:
            self.runs = load()
            self._problem = None
        # Whatever a damaged folder makes a library raise: the present runs go on.
        except Exception as error:
            self._problem = "the last reload failed, and the runs are those from before; the log says why"
            text = str(error) if isinstance(error, DeepRecError) else type(error).__name__
            log.warning("not reloaded, the present runs go on: %s", text)
            if not isinstance(error, DeepRecError):
                log.exception("a reload failed")
            return
        finally:
            self._turn.release()
        log.warning("reloaded: %s", ", ".join(f"{run.name} ({run.stage} {run.version})" for run in self.runs))
        self._retire(former)

    def _retire(self, former: Sequence[ServedRun]) -> None:
        """Close runs that nobody asks any more, once those are answered who did."""
        self._former.extend(former)
        latest = time.monotonic() + self.caps.max_deadline + _SPARE
        # Waited for first: a request may have found its run, and be about to hold it.
        while not self._closing.wait(_MOMENT):
            if not any(run.is_asked for run in former) or time.monotonic() > latest:
                break
        else:
            return  # who closes the service closes these, too
        for run in former:
            run.close()
            self._former.remove(run)

    def _named(self, name: str) -> ServedRun | None:
        _ = self.default
        return next((run for run in self.runs if run.name == name), None)

    def _names(self) -> str:
        return ", ".join(f"'{run.name}'" for run in self.runs)


def _at_most(field: str, value: int, most: int, what: str) -> None:
    if value > most:
        raise wrong_field(field, value, f"at most {most} {what}")
