"""Ids, ties and hashes: data, stages and evaluation belong together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from deeprec.audit.findings import Finding, Verdict
from deeprec.data.dataset import Dataset, TargetPart
from deeprec.data.files import source_exists
from deeprec.data.prepare import prepare
from deeprec.data.split import check_split
from deeprec.data.summary import ties
from deeprec.errors import DataError, DeepRecError, EvaluationError
from deeprec.evaluation.summary import read_summary
from deeprec.run import Run
from deeprec.stages import DATA, TRM, WARM_START


def check_data(run: Run, dataset: Dataset) -> list[Finding]:
    """The split leaks nothing, ids and labels are unique, and the source gives the same set again."""
    findings = [_split(dataset), _ids(dataset), *_repeated(dataset), _again(run, dataset)]
    recorded = run.finished().get(DATA, {}).get("fingerprint")
    if recorded is not None:
        same = recorded == dataset.fingerprint
        text = (
            f"{dataset.fingerprint}" if same else f"the data are {dataset.fingerprint}, recorded {recorded}"
        )
        verdict = Verdict.PROVEN if same else Verdict.PROBLEM
        findings.append(Finding("the data are those that the run began with", verdict, text))
    return findings


def check_stages(run: Run, dataset: Dataset) -> list[Finding]:
    """Every finished stage was made from the run's present data and settings."""
    from deeprec.rl.stage import STARTS_FROM, stage_inputs
    from deeprec.rl.warm_start import stage_inputs as warm_inputs
    from deeprec.trm.stage import stage_inputs as trm_inputs

    finished = run.finished()
    wanted: dict[str, str] = {}
    if TRM in finished:
        wanted[TRM] = trm_inputs(run, dataset).fingerprint
    if WARM_START in finished and TRM in finished:
        wanted[WARM_START] = warm_inputs(run.config, finished[TRM]["inputs"]).fingerprint
    for stage, before in STARTS_FROM.items():
        if stage in finished and before in finished:
            inputs = stage_inputs(run.config, dataset, stage, finished[before]["inputs"])
            wanted[stage] = inputs.fingerprint
    if not wanted:
        return []
    stale = [stage for stage, inputs in wanted.items() if finished[stage]["inputs"] != inputs]
    check = "every stage was made from the present data and settings"
    if stale:
        text = f"{', '.join(stale)}: other data, settings or version; run `deeprec quickstart` or the stage again"
        return [Finding(check, Verdict.PROBLEM, text)]
    return [Finding(check, Verdict.PROVEN, ", ".join(wanted))]


def check_evaluation(run: Run, dataset: Dataset) -> list[Finding]:
    """What was evaluated are the data's own targets, for every method the same, and no past is recommended."""
    found = []
    parts: tuple[TargetPart, ...] = ("test", "validation")
    for part in parts:
        folder = run.report if part == "test" else run.report / part
        if not (folder / "evaluation.json").is_file():
            continue
        problems = list(_evaluation_problems(folder, dataset, part))
        check = f"the evaluation on {part} is about the data's own targets"
        if problems:
            found.append(
                Finding(check, Verdict.PROBLEM, f"{len(problems)} problems; the first: {problems[0]}")
            )
        else:
            found.append(
                Finding(check, Verdict.PROVEN, f"targets {read_summary(folder / 'evaluation.json').targets}")
            )
    return found


def _evaluation_problems(folder: Path, dataset: Dataset, part: TargetPart) -> Iterator[str]:
    from deeprec.evaluation.evaluate import targets_hash

    file = folder / "per_user.parquet"
    try:
        summary = read_summary(folder / "evaluation.json")
        rows = pl.read_parquet(file)
        found = {column: rows[column] for column in ("method", "user_id", "target", "ranking")}
    except (OSError, PolarsError, EvaluationError) as error:
        yield f"{file}: can't be read ({error}); evaluate again"
        return
    examples = {example.user_id: example for example in dataset.examples(part)}
    users = sorted(set(found["user_id"]))
    unknown = [user for user in users if user not in examples]
    if unknown:
        yield f"user '{unknown[0]}' has no {part} target in the data"
        return
    chosen = [examples[user] for user in users]
    if summary.targets != (wanted := targets_hash(dataset, part, chosen, len(chosen) < len(examples))):
        yield f"evaluation.json names the targets {summary.targets}, its users have {wanted}"
    for method, group in rows.group_by("method", maintain_order=True):
        if sorted(group["user_id"]) != users:
            yield f"method '{method[0]}' was evaluated on other users than the others"
    for method, user, target, ranking in zip(*found.values(), strict=True):
        example = examples[user]
        if dataset.catalog[example.target].item_id != target:
            yield f"user '{user}': the target is '{target}' for '{method}', the data say otherwise"
        past = {dataset.catalog[item].item_id for item in dataset.exclusions(example)}
        if past & set(ranking):
            yield f"user '{user}': '{method}' recommends '{min(past & set(ranking))}' of the user's own past"


def _split(dataset: Dataset) -> Finding:
    check = "parts follow one another in time"
    try:
        check_split(dataset)
    except DataError as error:
        return Finding(check, Verdict.PROBLEM, str(error))
    return Finding(
        check,
        Verdict.PROVEN,
        f"{dataset.protocol}; {ties(dataset.interactions).sum():,} ties keep the source's order",
    )


def _ids(dataset: Dataset) -> Finding:
    check = "ids and titles are unique"
    for name in ("item_id", "label"):
        values = [getattr(item, name) for item in dataset.catalog.items]
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            return Finding(
                check, Verdict.PROBLEM, f"two items have the {name} '{twice}'; prepare the data again"
            )
    return Finding(
        check, Verdict.PROVEN, f"{dataset.catalog.n_items:,} items, {len(dataset.user_ids):,} users"
    )


def _repeated(dataset: Dataset) -> list[Finding]:
    """Targets that are the last row of their history again: the same event twice, or the same item later."""
    if not dataset.allow_repeats:
        return []  # no item stands twice for a user, which the split's check has seen
    check = "no target is the event before it"
    item, time = pl.col("item_index"), pl.col("timestamp")
    again = dataset.interactions.filter(
        pl.col("part").is_in(["script", "rl", "validation", "test"])
        & (item == item.shift().over("user_id"))
        & (time == time.shift().over("user_id")).fill_null(True)
    ).head(1)
    if not again.height:
        return [Finding(check, Verdict.PROVEN, "rows that are alike are apart in time")]
    user, target = again["user_id"][0], dataset.catalog[again["item_index"][0]].item_id
    text = f"user '{user}': the {again['part'][0]} target '{target}' is the last row of its history"
    if again["timestamp"][0] is None:
        return [
            Finding(
                check, Verdict.UNPROVEN, f"{text}; without times nobody knows whether it is another event"
            )
        ]
    return [Finding(check, Verdict.PROBLEM, f"{text}; prepare the data again with data.duplicates=drop")]


def _again(run: Run, dataset: Dataset) -> Finding:
    """Prepare the data once more from their source: the order of ties, ids and split must come out the same."""
    check = "the source gives the same data again"
    config = run.config.data
    if config.name != "synthetic" and (
        config.source is None or not source_exists(Path(config.source).expanduser())
    ):
        return Finding(check, Verdict.UNPROVEN, f"the source ({config.source or 'a download'}) is not here")
    try:
        again = prepare(config, config.synthetic.seed)
    except DeepRecError as error:
        return Finding(check, Verdict.UNPROVEN, f"it can't be prepared again: {error}")
    if [file.sha256 for file in again.provenance.files] != [file.sha256 for file in dataset.provenance.files]:
        return Finding(check, Verdict.UNPROVEN, f"{config.source} has changed since")
    if again.fingerprint != dataset.fingerprint:
        text = f"fingerprint {again.fingerprint}, the run has {dataset.fingerprint}; prepare the data again"
        return Finding(check, Verdict.PROBLEM, text)
    return Finding(check, Verdict.PROVEN, f"fingerprint {dataset.fingerprint}")
