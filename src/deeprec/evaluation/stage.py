"""The evaluation stage of a run: evaluate once, keep everything that the report needs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeprec.config import EvaluationConfig, StageConfig
from deeprec.contents import module_files, present
from deeprec.data.dataset import Dataset, TargetPart
from deeprec.disk import read_json, write_atomically
from deeprec.errors import EvaluationError
from deeprec.evaluation.asking import Asking, AskingHere
from deeprec.evaluation.evaluate import EvaluationResult, evaluate
from deeprec.evaluation.outputs import SUMMARY, make_folder, write_outputs
from deeprec.evaluation.summary import FORMAT, EvaluationSummary, format_of, read_summary
from deeprec.inputs import Inputs
from deeprec.provenance import environment
from deeprec.recommender import Recommender
from deeprec.rewards.mixture import mix, reward_parts
from deeprec.rl import recipe
from deeprec.rl.stage import reward_space
from deeprec.rollout.recommender import DeepRecRecommender
from deeprec.run import Run, writes
from deeprec.space import LOGS, require_space
from deeprec.stages import EARLIER, EVALUATION, RIVAL, RL_STAGES
from deeprec.threads import stage_threads
from deeprec.types import Example, Trajectory

if TYPE_CHECKING:
    from deeprec.trm.base import ExplorableRetriever

# Runs of other seeds must draw the same users and resamples: else their figures don't compare.
SEED = 0
_ROW = 500  # bytes of a user and method in per_user.parquet; measured: 100 to 300
_PROBED = 64  # users whose scores say how many threads pay


@writes
def run_evaluation(
    run: Run,
    dataset: Dataset,
    trm: ExplorableRetriever,
    recommenders: Mapping[str, Recommender],
    part: TargetPart = "test",
    asking: Asking | None = None,
) -> EvaluationSummary:
    """Evaluate every recommender, and write what `write_outputs` does and `trajectories.jsonl`.

    The files lie in the run's report folder for the test part, and in a folder of the part's name
    within it for another part. Nothing is evaluated again while the settings, the data, the
    earlier stages and the set of methods stay the same. `asking` as for `evaluate`.
    """
    folder = evaluation_folder(run, part)
    inputs = stage_inputs(run, dataset, part, sorted(recommenders))
    before = _before(folder / SUMMARY)
    if before is not None and before.inputs == inputs.fingerprint:
        return before
    started = time.perf_counter()
    rows = len(dataset.examples(part)) * len(recommenders)
    require_space(run.folder, rows * _ROW + LOGS, f"the evaluation on '{part}'")
    if part == "test":
        inputs.begin(run)
    users = [example.history for example in dataset.examples(part)[:_PROBED]]
    with stage_threads(run, EVALUATION, inputs.fingerprint, lambda: trm.score(users, [None] * len(users))):
        methods = list(recommenders.values())
        result = evaluate_run(run, dataset, trm, methods, part, run.config.evaluation, asking=asking)
    minutes = (time.perf_counter() - started) / 60
    summary = result.summary.model_copy(
        update={"inputs": inputs.fingerprint, "minutes": minutes, "environment": environment()}
    )
    make_folder(folder)
    _write_trajectories(
        result, dataset, run.config.evaluation.shown_trajectories, folder / "trajectories.jsonl"
    )
    write_outputs(folder, replace(result, summary=summary), dataset)
    if part == "test":
        inputs.finish(run, minutes, targets=summary.targets)
    return summary


def evaluate_run(
    run: Run,
    dataset: Dataset,
    trm: ExplorableRetriever,
    recommenders: Sequence[Recommender],
    part: TargetPart,
    config: EvaluationConfig,
    users: Sequence[str] | None = None,
    asking: Asking | None = None,
) -> EvaluationResult:
    """Evaluate with the run's TRM and reward parts, all users or those named, and write nothing."""
    asking = asking or AskingHere()
    space = reward_space(run, dataset, trm)
    stages: dict[str, StageConfig] = {name: getattr(run.config.rl, name) for name in RL_STAGES}

    def rewards(
        trajectories: Sequence[Trajectory], examples: Sequence[Example]
    ) -> dict[str, NDArray[np.float64]]:
        parts = reward_parts(trajectories, examples, space)
        return parts | {name: mix(parts, stage.weights) for name, stage in stages.items()}

    def sampled(recommender: Recommender, examples: Sequence[Example]) -> dict[str, NDArray[np.float64]]:
        # What training raises is the reward of sampled trajectories; greedy ones follow, or don't.
        if not config.sampled or not isinstance(recommender, DeepRecRecommender):
            return {}
        trajectories = asking.samples(recommender, examples)
        values = rewards(trajectories, examples)
        return {f"sampled/{name}": values[name] for name in stages}

    return evaluate(
        recommenders,
        dataset,
        part,
        config,
        SEED,
        k=run.config.rollout.recommended,
        users=users,
        retriever=trm,
        encoder=trm.encoder,
        text_vectors=trm.text_vectors(),
        rewards=rewards,
        sampled=sampled,
        asking=asking,
    )


def evaluation_folder(run: Run, part: TargetPart = "test") -> Path:
    """Where the evaluation of a part lies."""
    return run.report if part == "test" else run.report / part


def load_evaluation(run: Run, part: TargetPart = "test") -> EvaluationSummary:
    """The finished evaluation of a run; raises EvaluationError naming the command that makes it."""
    file = evaluation_folder(run, part) / SUMMARY
    if not file.exists():
        raise EvaluationError(
            f"{run.folder}: not evaluated on '{part}' yet; run `deeprec evaluate --run {run.folder} --part {part}`"
        )
    return read_summary(file)


def _before(file: Path) -> EvaluationSummary | None:
    """The evaluation that is there; None without one, or for one of an earlier version, which is made again."""
    if not file.exists():
        return None
    try:
        values = read_json(file)
    except (OSError, ValueError):
        values = None  # read_summary says what is wrong with it
    written = format_of(values)
    return None if written is not None and written < FORMAT else read_summary(file)


def stage_inputs(run: Run, dataset: Dataset, part: str, methods: list[str]) -> Inputs:
    """What an evaluation depends on: settings, data, the stages before, and which methods there are."""
    finished = run.finished()
    earlier = {
        stage: record["inputs"]
        for stage, record in finished.items()
        if stage in EARLIER or (stage.startswith(RIVAL) and stage.removeprefix(RIVAL) in methods)
    }
    config = run.config
    stages = (config.rl.cold_start, config.rl.recommendation)
    return Inputs.of(
        config,
        EVALUATION,
        format=FORMAT,
        data=dataset.fingerprint,
        part=part,
        methods=methods,
        stages_before=earlier,
        prompts=recipe.prompts(config.rollout),
        rewards=[recipe.rewards(stage.weights) for stage in stages],
        **present(your_rewards=module_files(name for stage in stages for name in stage.weights)),
    )


def _write_trajectories(result: EvaluationResult, dataset: Dataset, count: int, file: Path) -> None:
    """The trajectories of `count` users, the same for every policy, drawn by hash of the user id."""
    order = sorted(
        range(len(result.examples)), key=lambda i: sha256(result.examples[i].user_id.encode()).digest()
    )
    lines = []
    for method in result.recommendations:
        trajectories = result.trajectories(method)
        for user in order[:count] if trajectories else ():
            rewards = {
                name.removeprefix("reward/"): float(values[user])
                for name, values in result.per_user[method].items()
                if name.startswith("reward/")
            }
            record = _record(trajectories[user], result.examples[user], dataset)
            lines.append(json.dumps({"method": method, **record, "rewards": rewards}))
    write_atomically(file, "".join(line + "\n" for line in lines))


def _record(trajectory: Trajectory, example: Example, dataset: Dataset) -> dict[str, Any]:
    def labels(items: Sequence[int]) -> list[str]:
        return [dataset.catalog[item].label for item in items]

    return {
        "user_id": example.user_id,
        "prompt": trajectory.prompt,
        "history": labels(example.history[-20:]),
        "target": dataset.catalog[example.target].label,
        "turns": [
            {"thought": turn.thought, "preference": turn.preference, "retrieved": labels(turn.retrieved)}
            for turn in trajectory.turns
        ],
        "lines": list(trajectory.lines),
        "labels": [_label(line, dataset) for line in trajectory.lines],
        "stop_reason": str(trajectory.stop_reason),
        "format_errors": list(trajectory.format_errors),
    }


def _label(line: str, dataset: Dataset) -> str | None:
    item = dataset.catalog.resolve(line)
    return None if item is None else dataset.catalog[item].label
