"""`deeprec evaluate`: held-out evaluation of a run."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from deeprec.cli.options import (
    DEFAULT_RUN,
    JsonOption,
    RayOption,
    RunOption,
    ThreadsOption,
    WorkersOption,
)

if TYPE_CHECKING:
    from deeprec.data.dataset import Dataset
    from deeprec.evaluation.summary import EvaluationSummary
    from deeprec.run import Run
    from deeprec.trm.base import ExplorableRetriever
    from deeprec.wishes.forms import Sentences

_PARTS = ("test", "validation")
FORMATS = ("table", "markdown", "latex", "json")

FormatOption = Annotated[str, typer.Option("--format", help="`table`, `markdown`, `latex` or `json`.")]
ToOption = Annotated[
    Path | None, typer.Option("--to", help="Also write tables, figures and per-user results to this folder.")
]


def evaluate(
    run: RunOption = DEFAULT_RUN,
    part: Annotated[str | None, typer.Option(help="`test` or `validation`. [default: test]")] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Comma-separated, such as trm,recommendation [default: all that were trained]"),
    ] = None,
    users: Annotated[
        str | None, typer.Option(help="A random sample of this many users, or a part: all of its users.")
    ] = None,
    user: Annotated[list[str] | None, typer.Option(help="Only this user; repeatable.")] = None,
    wishes: Annotated[
        bool,
        typer.Option("--wishes", help="Another protocol: every user says simulated wishes, kind by kind."),
    ] = False,
    sentences: Annotated[
        str | None,
        typer.Option(
            help="Of --wishes: held-out (the default), new-words (that training never said), or validation."
        ),
    ] = None,
    shape: FormatOption = "table",
    to: ToOption = None,
    as_json: JsonOption = False,
    threads: ThreadsOption = None,
    ray: RayOption = None,
    workers: WorkersOption = None,
) -> None:
    """Rank for every held-out user with every method, and compare on the same users.

    A whole evaluation is kept in the run for the report. With --methods, --user or a number of
    --users it is only printed (and written with --to), and the run's own stays as it is.

    With --ray workers rank, in batches of users; the result is that of one process with as many --threads as
    each worker has (1 unless told), and what is interrupted goes on with the same command.

    With --wishes the methods are those of that protocol, and the table stands for itself (docs/howto/wish.md).

    Example: deeprec evaluate --run runs/ml-100k --methods trm,recommendation --users 200 --to tables
    """
    from deeprec.batch.on_ray import asking_workers
    from deeprec.data.stage import load_data
    from deeprec.evaluation.outputs import copy_outputs, make_folder, write_outputs
    from deeprec.evaluation.stage import evaluate_run, evaluation_folder, run_evaluation
    from deeprec.pipeline import build_recommenders, trained_methods
    from deeprec.progress import show_progress
    from deeprec.run import Run
    from deeprec.trm.stage import load_trm

    if workers is not None and ray is None:
        raise _error(f"--workers {workers}: belongs to --ray")
    if sentences is not None and not wishes:
        raise _error(f"--sentences {sentences}: belongs to --wishes")
    which = _which_sentences(sentences)
    shape = check_format("json" if as_json else shape)
    chosen, size = _part_and_size(part, users)
    if user and size is not None:
        raise _error(f"--user and --users {size} contradict each other; give one of them")
    opened = Run.open(run)
    dataset = load_data(opened)
    trm = load_trm(opened, dataset)
    asked = [name.strip() for name in (methods or "").split(",") if name.strip()]
    if methods is not None and not asked:
        raise _error(f"--methods '{methods}': names no method; known: {', '.join(trained_methods(opened))}")
    if to is not None:
        make_folder(to)  # now, not after minutes
    if wishes:
        if user:
            raise _error("--wishes and --user contradict each other; a sample of users is --users NUMBER")
        if ray is not None:
            raise _error(
                "--wishes and --ray contradict each other; this protocol is evaluated by one process"
            )
        _evaluate_wishes(opened, dataset, trm, chosen, size, asked, shape, to, which)
        return
    with show_progress(), ExitStack() as opened_cluster:
        names = list(dict.fromkeys(asked)) or trained_methods(opened)
        recommenders = build_recommenders(opened, names, (dataset, trm))
        whole = not asked and not user and size is None
        sample = {"max_users": size} if size is not None else {}
        config = opened.config.evaluation.model_copy(update=sample)
        asking = None
        if ray is not None:
            asking = opened_cluster.enter_context(
                asking_workers(opened, dataset, chosen, ray, workers, config.max_users, user or None)
            )
        if whole:
            summary = run_evaluation(opened, dataset, trm, recommenders, chosen, asking)
            if to is not None:
                copy_outputs(evaluation_folder(opened, chosen), to)
        else:
            methods_ = list(recommenders.values())
            result = evaluate_run(opened, dataset, trm, methods_, chosen, config, user or None, asking)
            summary = result.summary
            if to is not None:
                write_outputs(to, result, dataset)
    print_summary(summary, shape)


def _evaluate_wishes(
    run: Run,
    dataset: Dataset,
    trm: ExplorableRetriever,
    part: Literal["test", "validation"],
    size: int | None,
    asked: list[str],
    shape: str,
    to: Path | None,
    which: Sentences,
) -> None:
    """Evaluate under the protocol of simulated wishes, print the table, and write it with `--to`."""
    from deeprec.disk import write_atomically
    from deeprec.evaluation.results import rerun_command
    from deeprec.evaluation.tables import write_table
    from deeprec.evaluation.wishes import evaluate_wishes, table_markdown, wish_table
    from deeprec.evaluation.wishes_picture import wishes_picture
    from deeprec.pipeline import build_wishing
    from deeprec.progress import show_progress

    if shape == "latex":
        raise _error("--wishes: the table is printed as `table`, `markdown` or `json`")
    k = run.config.rollout.recommended
    with show_progress():
        recommenders = build_wishing(run, dataset, trm, list(dict.fromkeys(asked)))
        found = evaluate_wishes(recommenders, dataset, trm, part, k=k, users=size, which=which)
    words = [f"{rerun_command(run.config)}\ndeeprec evaluate --wishes --part {part}"]
    words += [f"--sentences {which}"] if which != "held-out" else []
    words += [f"--users {size}"] if size is not None else []
    words += [f"--methods {','.join(asked)}"] if asked else []
    table = wish_table(found, dataset, part, users=size, k=k, command=" ".join(words), which=which)
    if to is not None:
        kind = "wishes" if which == "held-out" else f"wishes-{which}"
        file = to / f"{dataset.name}-{kind}-{run.config.seed}.json"
        write_table(file, table)
        write_atomically(file.with_suffix(".svg"), wishes_picture(found, table.title))
    if shape == "json":
        typer.echo(table.model_dump_json(indent=1))
    else:
        typer.echo(table_markdown(table))


def _which_sentences(given: str | None) -> Sentences:
    known: tuple[Sentences, ...] = ("held-out", "new-words", "validation")
    for one in known:
        if given in (one, None):
            return one
    raise _error(f"--sentences {given}: choose one of {', '.join(known)}")


def check_format(shape: str) -> str:
    """The format as it was given; raises EvaluationError for an unknown one."""
    if shape not in FORMATS:
        raise _error(f"--format {shape}: choose one of {', '.join(FORMATS)}")
    return shape


def print_summary(summary: EvaluationSummary, shape: str) -> None:
    """Print an evaluation in one of FORMATS."""
    from rich.console import Console

    from deeprec.evaluation.markup import (
        evaluation_latex,
        evaluation_markdown,
        slices_latex,
        slices_markdown,
    )
    from deeprec.evaluation.terminal import render_summary

    if shape == "json":
        typer.echo(summary.model_dump_json(indent=1))
    elif shape == "markdown":
        typer.echo(evaluation_markdown(summary) + "\n" + (slices_markdown(summary) if summary.slices else ""))
    elif shape == "latex":
        typer.echo(evaluation_latex(summary) + "\n" + (slices_latex(summary) if summary.slices else ""))
    else:
        Console().print(render_summary(summary))


def _part_and_size(part: str | None, users: str | None) -> tuple[Literal["test", "validation"], int | None]:
    """What `--part` and `--users` ask for together: the part, and the size of a sample or None for all."""
    if part is not None and part not in _PARTS:
        raise _error(f"--part {part}: choose `test` or `validation`")
    size = None
    if users is not None and users not in _PARTS:
        if not users.isascii() or not users.isdigit() or int(users) < 1:
            raise _error(
                f"--users {users}: give a number of users, or `test` or `validation`; one user by id is --user"
            )
        size = int(users)
    elif users is not None and part is not None and users != part:
        raise _error(f"--users {users} and --part {part} contradict each other; give one of them")
    chosen = part or (users if users in _PARTS else "test")
    return cast(Literal["test", "validation"], chosen), size


def _error(message: str) -> Exception:
    from deeprec.errors import EvaluationError

    return EvaluationError(message)
