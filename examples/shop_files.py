"""A shop's files as a German spreadsheet exports them: semicolons, its own column names, times in milliseconds.

`python examples/shop_files.py [FOLDER]` writes orders.csv and products.csv, which docs/tutorials/own-data.md reads.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

KINDS = {
    "Küche": ["Kettle", "Toaster", "Pan", "Whisk", "Teapot", "Ladle", "Scale", "Sieve", "Bowl", "Knife"],
    "Büro": ["Stapler", "Lamp", "Notebook", "Ruler", "Folder", "Pen", "Eraser", "Tray", "Chair", "Clock"],
    "Garten": ["Spade", "Rake", "Hose", "Gloves", "Shears", "Bucket", "Trowel", "Hoe", "Pot", "Seeds"],
    "Bad": ["Brush", "Towel", "Soap", "Mirror", "Mat", "Comb", "Sponge", "Robe", "Shelf", "Basket"],
}
MATERIALS = ["steel", "wood"]
DAY = 86_400_000  # milliseconds
FIRST = 1_577_836_800_000  # 2020-01-01


def main(folder: Path, customers: int = 150) -> None:
    """Write orders of customers who mostly buy of one kind, then of the next, and what the products are called."""
    folder.mkdir(parents=True, exist_ok=True)
    products = [
        (f"{name}, {material}", kind)
        for kind, names in KINDS.items()
        for name in names
        for material in MATERIALS
    ]
    lines = ["Artikel;Name;Kategorie"]
    lines += [f"A-{number:02d};{name};{kind}" for number, (name, kind) in enumerate(products)]
    (folder / "products.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    draw, orders = random.Random(1), ["Kunde;Artikel;Zeit;Sterne"]
    per_kind = len(products) // len(KINDS)
    for customer in range(1, customers + 1):
        favourite, bought, day = draw.randrange(len(KINDS)), set(), draw.randrange(200)
        for _ in range(draw.randint(8, 16)):
            kind = favourite if draw.random() < 0.8 else draw.randrange(len(KINDS))
            item = per_kind * kind + min(int(draw.expovariate(0.2)), per_kind - 1)
            if item in bought:
                favourite = (favourite + 1) % len(KINDS)  # enough of these
                continue
            bought.add(item)
            day += draw.randint(1, 20)
            orders.append(
                f"K{customer:03d};A-{item:02d};{FIRST + day * DAY};{draw.randint(6, 10) / 2:.1f}".replace(
                    ".", ","
                )
            )
    (folder / "orders.csv").write_text("\n".join(orders) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "shop"))
