"""Saved prompts held against the data: none shows its target, or anything later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from deeprec.audit.findings import Finding, Verdict
from deeprec.data.catalog import Catalog
from deeprec.data.dataset import Dataset
from deeprec.disk import read_jsonl
from deeprec.rollout.protocol import wishes_in
from deeprec.run import Run
from deeprec.wishes.words import title_words, words

_SHORTEST = 4  # letters of a title that is looked for in running text; shorter ones are words


def check_prompts(run: Run, dataset: Dataset) -> list[Finding]:
    """One finding for the prompts kept while training, one for the pasts that the evaluation shows."""
    found = []
    if run.trajectories.is_file():
        leaks, count = [], 0
        for record in read_jsonl(run.trajectories):
            count += 1
            leaks += prompt_leaks(record["prompt"], record["user_id"], record["target"], dataset)
        found.append(
            _finding("no training prompt shows its target or a later item", leaks, f"{count} prompts")
        )
    shown = run.report / "trajectories.jsonl"
    if shown.is_file():
        leaks, count = [], 0
        for record in read_jsonl(shown):
            count += 1
            leaks += list(_report_leaks(record, dataset))
        found.append(
            _finding("no evaluated prompt shows its target or a later item", leaks, f"{count} prompts")
        )
    return found


def prompt_leaks(prompt: str, user_id: str, target: int, dataset: Dataset) -> list[str]:
    """Items from the target on that stand in a prompt, as a line of its list or in its text."""
    items = _items(dataset, user_id)
    if target not in items:
        return [f"user '{user_id}': target {target} is none of this user's interactions"]
    place = len(items) - 1 - items[::-1].index(target)
    forbidden = set(items[place:]) - set(items[:place])
    lines = [line[2:] for line in prompt.splitlines() if line.startswith("- ")]
    shown = {_resolve(line, dataset.catalog) for line in lines}
    text = "\n".join(line for line in prompt.splitlines() if not line.startswith("- "))
    said = {
        item
        for item in forbidden
        if len(dataset.catalog[item].label) >= _SHORTEST and dataset.catalog[item].label in text
    }
    named = title_words(dataset.catalog[target]) & words(" ".join(wishes_in(prompt)))
    if named:
        said.add(target)  # a simulated wish that says a word of the title gives it away
    return [
        f"user '{user_id}': the prompt shows '{dataset.catalog[item].label}', which comes "
        + ("as its target" if item == target else "after its target")
        for item in sorted(forbidden & (shown | said))
    ]


def _report_leaks(record: dict[str, Any], dataset: Dataset) -> Iterator[str]:
    user, target = record["user_id"], dataset.catalog.resolve(record["target"])
    if target is None:
        yield f"user '{user}': target '{record['target']}' is not in the catalogue"
        return
    # The page shows the history as titles; what the policy read is the prompt (older runs kept none).
    shown = "\n".join(f"- {label}" for label in record["history"])
    yield from prompt_leaks(f"{shown}\n{record.get('prompt', '')}", user, target, dataset)


def _items(dataset: Dataset, user_id: str) -> tuple[int, ...]:
    return dataset.known_history(user_id).history if user_id in set(dataset.user_ids) else ()


def _resolve(line: str, catalog: Catalog) -> int | None:
    """The item of a list line; fields such as categories may follow its label."""
    parts = line.split(" | ")
    for count in range(len(parts), 0, -1):
        item = catalog.resolve(" | ".join(parts[:count]))
        if item is not None:
            return item
    return None


def _finding(check: str, leaks: Sequence[str], count: str) -> Finding:
    if leaks:
        return Finding(check, Verdict.PROBLEM, f"{len(leaks)} leaks in {count}; the first: {leaks[0]}")
    return Finding(check, Verdict.PROVEN, count)
