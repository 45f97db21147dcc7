"""Imports: they go downwards only, and the package and its help load no machine-learning framework."""

from __future__ import annotations

import ast
import re
import resource
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import deeprec

FRAMEWORKS = (
    "torch",
    "transformers",
    "trl",
    "sklearn",
    "tensorflow",
    "jax",
    "sentence_transformers",
    "sqlalchemy",
)


def loaded_by(program: str) -> set[str]:
    """Frameworks that a fresh interpreter has loaded after `program`."""
    ending = f"\nimport sys; print(*[name for name in {FRAMEWORKS!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program + ending], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


def test_the_probe_sees_a_framework_that_was_loaded() -> None:
    assert "sklearn" in loaded_by("import sklearn")


@pytest.mark.parametrize(
    "program",
    [
        "import deeprec",
        "import deeprec; deeprec.Run, deeprec.load_config, deeprec.Item, deeprec.DeepRecError",
        "import deeprec; deeprec.run_pipeline, deeprec.load_stages, deeprec.build_deeprec",
        "import deeprec.cli.app",
    ],
)
def test_importing_loads_no_framework(program: str) -> None:
    assert loaded_by(program) == set()


def help_program(*arguments: str) -> str:
    return (
        f"import sys; sys.argv = ['deeprec', *{arguments!r}]\n"
        "from deeprec.cli import main\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code, done.code"
    )


COMMANDS = (
    ("quickstart",),
    ("data", "prepare"),
    ("trm", "fit"),
    ("policy", "init"),
    ("train",),
    ("evaluate",),
    ("ablate",),
    ("report",),
    ("recommend",),
    ("serve",),
    ("keys", "add"),
    ("bench", "trm"),
    ("bench", "rollout"),
    ("bench", "serve"),
    ("results", "render"),
    ("store", "info"),
    ("doctor",),
)


@pytest.mark.parametrize("command", [(), *COMMANDS], ids=" ".join)
def test_help_loads_no_framework(command: tuple[str, ...]) -> None:
    assert loaded_by(help_program(*command, "--help")) == set()


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_takes_less_than_half_a_second() -> None:
    """Processor time, which does not depend on what else the machine does; the best of three."""
    command = [sys.executable, "-c", "from deeprec.cli import main; main()", "--help"]
    seconds = []
    for _ in range(3):
        before = children_seconds()
        subprocess.run(command, capture_output=True, check=True)
        seconds.append(children_seconds() - before)
    print(f"deeprec --help: {min(seconds):.2f} s")
    assert min(seconds) < 0.5


def test_every_public_name_can_be_had() -> None:
    for name in deeprec.__all__:
        assert getattr(deeprec, name) is not None
    assert set(deeprec._HOME_OF) | {"__version__"} == set(deeprec.__all__) == set(dir(deeprec))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="recommendd"):
        deeprec.recommendd  # noqa: B018


SOURCE = Path(deeprec.__file__).parent
MODULES = {
    ".".join(("deeprec", *file.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): file
    for file in SOURCE.rglob("*.py")
}
# Sections, effects and methods are functions of the whole configuration, which is made of them: they name its type.
WHOLE = "    from deeprec.settings.run import RunConfig"


def imports_of(name: str) -> set[str]:
    """Modules of the package that a module names in any import: at its top, in a body, for types alone."""
    found = set()
    text = MODULES[name].read_text(encoding="utf-8").replace(WHOLE, "    pass")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {part if part in MODULES else node.module for part in parts}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & MODULES.keys()) - {name, "deeprec"}


PAGE = (SOURCE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")


def order_on_the_page() -> list[str]:
    """Folders and files of the package, lowest first, as docs/architecture.md names them."""
    _, ground, table = re.split(r"At the ground, in order: |On it stand, in order:", PAGE)
    rows = re.findall(r"^\| `(\w+)(?:\.py)?` \|", table.partition("\n## ")[0], flags=re.MULTILINE)
    return re.findall(r"`(\w+)`", ground) + rows


def test_imports_go_downwards_in_the_order_of_the_page() -> None:
    order = {part: place for place, part in enumerate(order_on_the_page())}
    assert {name.split(".")[1] for name in MODULES if name != "deeprec"} == set(order)  # each is named, once
    upwards = [
        f"{name} imports {other}"
        for name in sorted(MODULES)
        for other in sorted(imports_of(name))
        if name != "deeprec" and order[name.split(".")[1]] < order[other.split(".")[1]]
    ]
    assert upwards == []


def test_no_modules_import_each_other() -> None:
    TopologicalSorter(
        {name: imports_of(name) for name in MODULES}
    ).prepare()  # raises CycleError with the circle


def test_files_that_the_page_names_are_there() -> None:
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", PAGE))
    assert len(named) > 40
    places = (SOURCE, SOURCE.parent, SOURCE.parents[1])
    assert [name for name in sorted(named) if not any((place / name).is_file() for place in places)] == []
