"""A wish: the same user asked for in silence, and with what they say that they want now.

`python examples/wish.py RUN [WISH]` takes a run with a trained policy and prints both lists side by side, each with
what the policy asked the TRM for. See docs/tutorials/wishes.md.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from deeprec import Recommendation, Run, build_deeprec, load_stages


def main(folder: Path, wish: str = "") -> list[Recommendation]:
    """Two recommendations for the run's first user; without a wish, one for a category of the catalogue."""
    run = Run.open(folder)
    dataset, trm = load_stages(run)
    deeprec = build_deeprec(run, dataset, trm, fill_in=True)
    user = dataset.known_history(dataset.user_ids[0])
    named = next(name for item in dataset.catalog.items for name in item.categories)
    said = wish or f"something {named}, please"

    found = deeprec.recommend([user, replace(user, wish=said)])
    for text, one in zip(("nothing said", f'said: "{said}"'), found, strict=True):
        turns = one.trajectory.turns if one.trajectory else ()
        print(f"{text}; asked for: {'; '.join(turn.preference for turn in turns) or 'nothing'}")
        for number, item in enumerate(one.ranking, 1):
            print(
                f"{number:3}. {dataset.catalog[item].label} ({', '.join(dataset.catalog[item].categories)})"
            )
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
