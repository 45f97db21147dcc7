"""One run that is served: its data, TRM and policy, and how it answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from uuid import uuid4

import numpy as np

from deeprec.data.dataset import Dataset
from deeprec.errors import DeepRecError
from deeprec.methods import TRM
from deeprec.recommender import Recommendation
from deeprec.rollout.environment import Environment
from deeprec.rollout.fill_in import Gap, fill_gaps, filled, final_answer, preferences_of
from deeprec.run import Run
from deeprec.serve.answers import answer_of
from deeprec.serve.bodies import Mode, RecommendationAnswer
from deeprec.serve.fairness import QueueFullError
from deeprec.serve.gathering import Gathering
from deeprec.serve.measures import Measures
from deeprec.serve.problems import too_busy
from deeprec.serve.records import Records
from deeprec.serve.run_bodies import RunGiven
from deeprec.serve.shared import SharedRetriever
from deeprec.serve.titles import TitleSearch
from deeprec.serve.users import StoreDoor, Users
from deeprec.serve.worker import Task, Worker
from deeprec.types import Example, Turn
from deeprec.wishes.rule import WishRule
from deeprec.wishes.text import clean_wish

DEEPREC = "deeprec"
NEWCOMER = "newcomer: nothing is known of this user, so these are the items that most users had"


@dataclass(frozen=True)
class Wanted:
    """A request, checked: for whom, how many items, and until when (`time.monotonic`)."""

    example: Example
    k: int
    deadline: float
    mode: Mode = "deeprec"
    max_turns: int | None = None
    client: str = ""
    started: float = field(default_factory=time.monotonic)
    request_id: str = field(default_factory=lambda: uuid4().hex)

    @property
    def is_newcomer(self) -> bool:
        """Whether nothing at all is known: neither a history nor what is wanted now."""
        return not self.example.history and not clean_wish(self.example.wish)


class ServedRun:
    """Answers for one run; made and used in one event loop, but for what its threads do."""

    def __init__(
        self, name: str, run: Run, environment: Environment, stage: str, door: StoreDoor, measures: Measures
    ) -> None:
        """`environment` may be of any engine; `stage` names the policy for people."""
        self.name, self.stage, self.config = name, stage, run.config
        self.version = str(run.finished().get(stage, {}).get("inputs", "unknown"))[:12]
        self.loaded = time.time()
        self._asking = 0
        self.dataset: Dataset = environment.dataset
        self.titles = TitleSearch(self.dataset.catalog)
        self.users = Users(self.dataset, self.titles, door)
        self._popular = popular_items(self.dataset)
        self.records = Records(run, self.dataset.catalog)
        self._rule = WishRule(self.dataset.catalog)
        self._measures = measures
        self._environment = replace(environment, retriever=SharedRetriever(environment.retriever))
        # A ranking of the TRM alone never waits for the policy: it has a thread of its own.
        self._ranking = ThreadPoolExecutor(1, thread_name_prefix="deeprec-trm")
        self._filling = Gathering(self._fill, self._ranking)
        self._environment.retriever.retrieve([()], k=1)  # what it computes once, it computes now
        serve = run.config.serve
        self._worker = Worker(
            self._environment,
            run.config.inference,
            in_flight=serve.in_flight,
            queue=serve.queue,
            gauges=measures.of(name),
        )

    @property
    def is_ready(self) -> bool:
        """Whether its policy's thread runs."""
        return self._worker.is_alive

    @property
    def is_asked(self) -> bool:
        """Whether a request is between `hold` and `release`."""
        return self._asking > 0

    def hold(self) -> None:
        """Keep its threads for a request, even where another run takes its place meanwhile."""
        self._asking += 1

    def release(self) -> None:
        """The request is answered."""
        self._asking -= 1

    def given(self, *, is_default: bool) -> RunGiven:
        """The run as clients see it."""
        return RunGiven(
            name=self.name,
            dataset=self.dataset.name,
            items=self.dataset.catalog.n_items,
            users=len(self.dataset.user_ids),
            stage=self.stage,
            hears_wishes=self.config.wishes.share > 0,
            default=is_default,
        )

    def accept(self, wanted: Wanted, on_turn: Callable[[int, Turn], None] | None = None) -> Task | None:
        """Put a request in the queue; `finish` waits for it. None where the policy isn't asked.

        `on_turn` hears each turn in the event loop. Raises Problem (429) where too many wait.
        """
        if wanted.mode == TRM or wanted.is_newcomer:
            return None
        task = self._task(wanted, on_turn)
        try:
            self._worker.submit(task)
        except QueueFullError:
            raise too_busy("too many requests wait for the policy", 1.0) from None
        return task

    async def finish(self, wanted: Wanted, task: Task | None) -> RecommendationAnswer:
        """The answer to an accepted request, in time: the TRM's where the policy fails or is late.

        Cancelling this cancels the request's work.
        """
        if wanted.is_newcomer:
            found = Recommendation(tuple(self._popular[: wanted.k]), TRM, NEWCOMER)
            return self._answer(wanted, found, (), "newcomer")
        if task is None:
            return await self._plain(wanted, None, "asked")
        limit = asyncio.timeout(wanted.deadline - time.monotonic())
        try:
            async with limit:
                trajectories = await asyncio.wrap_future(task.result)
        except asyncio.CancelledError:
            self._worker.cancel(task)
            raise
        except QueueFullError as error:
            return await self._plain(wanted, f"busy: {error}", "busy")
        # Of the engine, whatever it raised: the worker has logged it, and the TRM answers.
        except Exception as error:
            if not limit.expired():
                return await self._plain(wanted, f"engine: {_told(error)}", "engine", task)
            self._worker.cancel(task)
            waited = time.monotonic() - wanted.started
            return await self._plain(wanted, f"deadline: no list after {waited:.2f} s", "deadline", task)
        found = final_answer(DEEPREC, wanted.example, trajectories, wanted.k, self.dataset, None)
        if len(found.ranking) < wanted.k:
            asked = preferences_of(turn for one in trajectories for turn in one.turns)
            rest = await self._filling.ask((Gap(wanted.example, wanted.k, found.ranking), asked))
            found = filled(found, wanted.k, rest)
        shown = found.trajectory
        word = "" if found.reason is None else ("short_list" if shown and shown.is_valid else "malformed")
        listed = {item for one in trajectories if one.is_valid for item in one.ranking}
        tokens = sum(sum(one.loss_mask) for one in trajectories)
        return self._answer(wanted, found, shown.turns if shown else (), word, listed, tokens)

    def close(self) -> None:
        """Stop its threads; requests that are left fail."""
        self._worker.close()
        self._ranking.shutdown(cancel_futures=True)

    def _task(self, wanted: Wanted, on_turn: Callable[[int, Turn], None] | None) -> Task:
        if on_turn is None:
            return Task(wanted.example, wanted.client, wanted.max_turns)
        loop, hear = asyncio.get_running_loop(), on_turn

        def tell(number: int, turn: Turn) -> None:
            loop.call_soon_threadsafe(hear, number, turn)

        return Task(wanted.example, wanted.client, wanted.max_turns, tell)

    async def _plain(
        self, wanted: Wanted, reason: str | None, word: str, task: Task | None = None
    ) -> RecommendationAnswer:
        """The TRM's ranking, beside the turns that there were until then."""
        turns = task.turns if task else ()
        gap = Gap(wanted.example, wanted.k)
        found = Recommendation(await self._filling.ask((gap, preferences_of(turns))), TRM, reason)
        return self._answer(wanted, found, turns, word)

    def _fill(self, gaps: Sequence[tuple[Gap, tuple[str, ...]]]) -> list[tuple[int, ...]]:
        """What the TRM fills in: for what the user's words say, without what the preferences beside a gap exclude."""
        asked = [replace(gap, asked=self._rule.ask(gap.example, before)) for gap, before in gaps]
        return fill_gaps(asked, self.dataset, self._environment.retriever)

    def _answer(
        self,
        wanted: Wanted,
        found: Recommendation,
        turns: Sequence[Turn],
        word: str,
        listed: Collection[int] = (),
        tokens: int = 0,
    ) -> RecommendationAnswer:
        answer = answer_of(
            found,
            turns,
            listed,
            self.dataset.catalog,
            request_id=wanted.request_id,
            run=self.name,
            seconds=time.monotonic() - wanted.started,
            tokens=tokens,
        )
        self._measures.answer(self.name, answer.source, word, tokens)
        return answer


def popular_items(dataset: Dataset) -> list[int]:
    """All items, those first that were chosen most often; equals by index."""
    counts = np.bincount(dataset.interactions["item_index"].to_numpy(), minlength=dataset.catalog.n_items + 1)
    return [int(item) for item in np.argsort(-counts[1:], kind="stable") + 1]


def _told(error: Exception) -> str:
    """What a client is told of an engine's failure: ours name settings, others may name anything."""
    return (
        str(error) if isinstance(error, DeepRecError) else "the policy's engine failed; see the service's log"
    )
