"""`deeprec recommend`: explore for one user and print the turns as they come, or for all users into a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deeprec.cli.options import (
    DEFAULT_RUN,
    JsonOption,
    RayOption,
    RunOption,
    ThreadsOption,
    WorkersOption,
    print_json,
)

if TYPE_CHECKING:
    from deeprec.data.catalog import Catalog
    from deeprec.data.dataset import Dataset
    from deeprec.rollout.episode import Episode
    from deeprec.types import Example


def recommend(
    run: RunOption = DEFAULT_RUN,
    user: Annotated[str | None, typer.Option(help="A user id of the data set.")] = None,
    title: Annotated[
        list[str] | None, typer.Option(help="A title of the history, oldest first; repeat it.")
    ] = None,
    wish: Annotated[
        str, typer.Option(help="What the user wants now, in their own words; alone: of somebody unknown.")
    ] = "",
    k: Annotated[int | None, typer.Option("-k", min=1, help="How many items; none: as trained.")] = None,
    stage: Annotated[str | None, typer.Option(help="Policy: warm_start, cold_start, recommendation.")] = None,
    as_json: JsonOption = False,
    all_users: Annotated[bool, typer.Option("--all-users", help="Everybody, into --output.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="With --all-users: a Parquet file, a row for each user and rank.")
    ] = None,
    ray: RayOption = None,
    workers: WorkersOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Recommend for a user, or for a history given by titles, and a wish if there is one; shows every turn.

    Or for all users, into a file.

    Example: deeprec recommend --run runs/ml-100k --title "Alien (1979)" --wish "something funny from the nineties"
    Example: deeprec recommend --run runs/ml-100k --all-users --output lists.parquet
    """
    _check_stage(stage)
    if all_users:
        if user is not None or title or wish or as_json:
            raise _usage("--all-users stands alone: leave out --user, --title, --wish and --json")
        if output is None:
            raise _usage("--all-users needs --output FILE.parquet")
        _recommend_all(run, output, stage, k, ray, workers)
        return
    given = {"--output": output, "--ray": ray, "--workers": workers}
    for name, value in given.items():
        if value is not None:
            raise _usage(f"{name} {value}: belongs to --all-users")
    _recommend_one(run, user, title or [], wish, k, stage, as_json)


def _recommend_all(
    run: Path, output: Path, stage: str | None, k: int | None, ray: str | None, workers: int | None
) -> None:
    """Everybody's lists, here or on a cluster."""
    from deeprec.batch.on_ray import recommend_on_ray
    from deeprec.batch.recommend import RecommendAll
    from deeprec.progress import show_progress
    from deeprec.run import Run
    from deeprec.threads import batch_threads

    if workers is not None and ray is None:
        raise _usage(f"--workers {workers}: belongs to --ray")
    batch = RecommendAll.of(Run.open(run), output, stage=stage, k=k, threads=batch_threads())
    with show_progress():
        made = batch.make() if ray is None else recommend_on_ray(batch, ray, workers)
    typer.echo(
        f"{output}: {batch.users():,} users" if made else f"{output}: is there already, of the same policy"
    )


def _recommend_one(
    run: Path,
    user: str | None,
    title: list[str],
    wish: str,
    k: int | None,
    stage: str | None,
    as_json: bool,
) -> None:
    """One user's list, and how it came about."""
    from dataclasses import replace

    from deeprec.errors import DataError
    from deeprec.pipeline import build_deeprec, load_stages
    from deeprec.run import Run
    from deeprec.wishes.text import check_wish

    said = check_wish(wish, "--wish")
    if (user is not None and title) or not (user is not None or title or said):
        raise DataError("give either --user ID or --title TITLE (repeated), not both and not neither")
    folder = Run.open(run)
    dataset, trm = load_stages(folder)
    wanted = folder.config.rollout.recommended if k is None else k
    if wanted > dataset.catalog.n_items:
        raise DataError(f"-k {wanted} is more than the catalogue's {dataset.catalog.n_items} items; lower it")
    known = dataset.known_history(user) if user is not None else _history(dataset, title)
    example = replace(known, wish=said)
    if said and not folder.config.wishes.share:
        typer.echo("This run's policy has learned no wishes (wishes.share): it may not understand.", err=True)
    recommender = build_deeprec(folder, dataset, trm, stage, fill_in=True)
    printer = None if as_json else _TurnPrinter(dataset.catalog)
    found = recommender.recommend([example], wanted, watch=printer)[0]
    items = [dataset.catalog[item] for item in found.ranking]
    if as_json:
        turns = found.trajectory.turns if found.trajectory else ()
        print_json(
            {
                "source": found.source,
                "reason": found.reason,
                "items": [{"item_id": item.item_id, "title": item.label} for item in items],
                "turns": [
                    {
                        "thought": turn.thought,
                        "preference": turn.preference,
                        "retrieved": [dataset.catalog[item].label for item in turn.retrieved],
                    }
                    for turn in turns
                ],
            }
        )
        return
    typer.secho("\nRecommended", bold=True)
    for number, item in enumerate(items, 1):
        typer.echo(f"{number:3}. {item.label}")
    if found.reason:
        typer.echo(f"(the TRM's ranking filled in: {found.reason})")


def _check_stage(stage: str | None) -> None:
    from deeprec.errors import RunError
    from deeprec.stages import POLICY_STAGES

    if stage is not None and stage not in POLICY_STAGES:
        raise RunError(f"--stage '{stage}': choose {', '.join(POLICY_STAGES[:-1])} or {POLICY_STAGES[-1]}")


def _usage(message: str) -> Exception:
    from deeprec.errors import DataError

    return DataError(message)


def _history(dataset: Dataset, titles: list[str]) -> Example:
    """A history of titles; names what is unknown or ambiguous, with candidates."""
    import difflib

    from deeprec.errors import DataError
    from deeprec.types import Example

    found = []
    for title in titles:
        matches = dataset.catalog.search(title)
        if not matches:
            labels = [item.label for item in dataset.catalog.items]
            near = difflib.get_close_matches(title, labels, n=3, cutoff=0.4)
            hint = (
                f"did you mean {' or '.join(repr(label) for label in near)}?"
                if near
                else "check the spelling"
            )
            raise DataError(f"no item is called '{title}'; {hint}")
        if len(matches) > 1:
            candidates = ", ".join(repr(dataset.catalog[item].label) for item in matches[:5])
            raise DataError(f"'{title}' may be any of {candidates}; give one of these")
        found.append(matches[0])
    return Example(user_id="(titles)", history=tuple(found))


class _TurnPrinter:
    """Prints each turn once, as soon as the TRM has retrieved for it."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog, self._printed = catalog, 0

    def __call__(self, episode: Episode) -> None:
        for turn in episode.turns[self._printed :]:
            self._printed += 1
            typer.secho(f"\nTurn {self._printed}", bold=True)
            typer.echo(f"  thought:    {turn.thought}")
            typer.echo(f"  preference: {turn.preference}")
            labels = [self._catalog[item].label for item in turn.retrieved]
            shown = "; ".join(labels[:5]) + (f"; and {len(labels) - 5} more" if len(labels) > 5 else "")
            typer.echo(f"  retrieved:  {shown}")
