"""The model card of a pushed run: what it is, what it was made of, what it reached, what to mind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deeprec.data.dataset import Dataset
from deeprec.distribution import installed_version
from deeprec.errors import EvaluationError
from deeprec.evaluation.stage import load_evaluation
from deeprec.evaluation.summary import EvaluationSummary
from deeprec.methods import TRM
from deeprec.run import Run
from deeprec.stages import DATA

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

_SHOWN = ("ndcg@10", "recall@10", "mrr")
_GROUPLENS = (
    "MovieLens (GroupLens, University of Minnesota): for research; no redistribution of the data without permission, "
    "no use for revenue, acknowledgement in publications (https://grouplens.org/datasets/movielens/)"
)
_AMAZON = "Amazon reviews (McAuley Lab, UC San Diego): for research; cite the data set's paper"
_TERMS = {
    "ml-": _GROUPLENS,
    "amazon-": _AMAZON,
    "synthetic": "simulated by deeprec: no terms",
}
_HOW = """\
```sh
pip install .             # in a checkout of deeprec; `deeprec` on the package index is something else
deeprec pull SOURCE runs/pulled
deeprec recommend --run runs/pulled --title "..." --title "..."
```
"""


def write_card(run: Run, dataset: Dataset, stage: str, *, histories: bool, licence: str) -> str:
    """The card of a run whose policy is that of `stage`: metadata as YAML, then text."""
    evaluation = _evaluation(run)
    data = card_data(run, dataset, stage, evaluation, licence)
    sections = {
        f"{dataset.name}: a policy that explores a catalogue": _about(stage),
        "Use": _HOW,
        "Data": _data(run, dataset, histories),
        "Figures": _figures(evaluation, stage),
        "Settings": _settings(run),
        "Licence notes": _licences(run, licence),
        "Limits": _limits(histories),
    }
    text = "\n\n".join(
        f"{'#' if number == 0 else '##'} {title}\n\n{body.strip()}"
        for number, (title, body) in enumerate(sections.items())
    )
    return f"---\n{data.to_yaml()}\n---\n\n{text}\n"


def card_data(
    run: Run, dataset: Dataset, stage: str, evaluation: EvaluationSummary | None, licence: str
) -> ModelCardData:
    """The metadata as the hub reads it."""
    from huggingface_hub import EvalResult, ModelCardData

    base = run.config.policy.model
    results = [
        EvalResult(
            task_type="recommendation",
            task_name="next-item recommendation",
            dataset_type=dataset.name,
            dataset_name=f"{dataset.name} ({evaluation.protocol})",
            dataset_split=evaluation.part,
            metric_type=metric,
            metric_name=metric,
            metric_value=round(evaluation.methods[stage].metrics[metric].mean, 4),
        )
        for metric in _SHOWN
        if evaluation is not None and stage in evaluation.methods
    ]
    options: dict[str, Any] = {"base_model": base} if base.count("/") == 1 and base[0] not in "./~" else {}
    return ModelCardData(
        language="en",
        license=licence,
        library_name="deeprec",
        tags=["recommender-systems", "reinforcement-learning", "deeprec"],
        model_name=f"deeprec-{dataset.name}-{stage}",
        eval_results=results or None,
        **options,
    )


def _evaluation(run: Run) -> EvaluationSummary | None:
    try:
        return load_evaluation(run)
    except EvaluationError:
        return None


def _about(stage: str) -> str:
    return (
        f"A language model (stage `{stage}`) that explores a catalogue over several turns with a recommendation model "
        "(TRM), then ranks; learned by two-stage reinforcement learning after DeepRec "
        f"([arXiv 2505.16810](https://arxiv.org/abs/2505.16810)). Made by deeprec {installed_version()}. "
        "The policy lies at the top, the TRM, the catalogue and the settings below `deeprec/`; all weights are "
        "safetensors."
    )


def _data(run: Run, dataset: Dataset, histories: bool) -> str:
    counts = run.finished()[DATA].get("fingerprint", dataset.fingerprint)
    users = len(dataset.user_ids)
    here = (
        "**Users' histories are in this repository**: they are personal data."
        if histories
        else "Users' histories, ids and rankings are **not** in this repository; the catalogue (ids, titles, "
        "categories, years) is."
    )
    return (
        f"`{dataset.name}`: {users:,} users, {dataset.catalog.n_items:,} items, {dataset.interactions.height:,} "
        f"interactions; {dataset.protocol}; fingerprint `{counts}`. {here} Weights were fitted to those histories "
        "and may tell something of them."
    )


def _figures(evaluation: EvaluationSummary | None, stage: str) -> str:
    if evaluation is None:
        return "Not evaluated before it was pushed."
    head = f"| method | {' | '.join(_SHOWN)} |\n| --- |{' --- |' * len(_SHOWN)}"
    rows = [
        f"| {name}{' (this one)' if name == stage else ''} | "
        + " | ".join(
            f"{value.mean:.4f} [{value.low:.4f}, {value.high:.4f}]"
            for value in (method.metrics[metric] for metric in _SHOWN)
        )
        + " |"
        for name, method in evaluation.methods.items()
    ]
    ahead = "" if TRM not in evaluation.methods else " Hold the policy against `trm`, its own plain list."
    return (
        f"{evaluation.users:,} users, part `{evaluation.part}`, {evaluation.protocol}, list of {evaluation.k}; 95 % "
        f"intervals.{ahead}\n\n" + "\n".join([head, *rows])
    )


def _settings(run: Run) -> str:
    config, rollout, rl = run.config, run.config.rollout, run.config.rl
    shown = {
        "policy": config.policy.model,
        "TRM": f"{config.trm.kind}, text encoder {config.trm.text_encoder}",
        "lists": f"{rollout.list}, {rollout.recommended} items, {rollout.max_retrievals} retrievals at most",
        "RL": f"{rl.cold_start.steps} + {rl.recommendation.steps} iterations of {rl.users_per_step} users x "
        f"{rl.rollouts_per_user} rollouts, learning rate {rl.learning_rate:g}",
        "seed": str(config.seed),
    }
    lines = "\n".join(f"- {name}: {value}" for name, value in shown.items())
    return f"{lines}\n\nAll of them: `deeprec/run.toml`."


def _licences(run: Run, licence: str) -> str:
    return f"- weights and files of this repository: {licence}\n" + "\n".join(
        f"- {note}" for note in licence_notes(run)
    )


def licence_notes(run: Run) -> list[str]:
    """What is known of the terms of what a run is made of."""
    name = run.config.data.name
    terms = next((text for prefix, text in _TERMS.items() if name.startswith(prefix)), None)
    notes = [
        f"data: {terms}" if terms else f"data `{name}`: their owner's terms hold for titles and weights, too"
    ]
    if run.config.policy.model != "tiny":
        notes.append(f"base model `{run.config.policy.model}`: its own licence goes on to hold")
    return [*notes, "deeprec: Apache-2.0"]


def _limits(histories: bool) -> str:
    able = (
        "A pulled run can be evaluated and trained on."
        if histories
        else "A pulled run recommends and serves for histories that it is given; it can't be evaluated or trained on."
    )
    return f"{able} Items that are not in the catalogue are unknown to it. Figures hold for the data named above alone."
