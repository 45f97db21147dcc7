"""Your own data: two CSV files with your column names, and the settings that map them.

`python examples/own_data.py [FOLDER]` writes them and prints what deeprec makes of them.
See docs/howto/own-data.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

from deeprec import Dataset, Run, load_config
from deeprec.data.stage import run_data

SALES = """customer,sku,bought,stars
ann,1,2024-01-03,5
ann,2,2024-01-09,4
ann,3,2024-02-01,5
ann,4,2024-02-11,2
ann,5,2024-03-20,4
bob,2,2024-01-02,3
bob,1,2024-01-08,5
bob,5,2024-02-02,4
bob,3,2024-02-03,4
bob,6,2024-03-01,5
"""
PRODUCTS = """sku,name,tags
1,Kettle,kitchen/steel
2,Toaster,kitchen
3,Desk lamp,office/light
4,Stapler,office
5,Night light,bedroom/light
6,Notebook,office/paper
"""
SETTINGS = """
[data]
name = "table"
source = "{folder}/sales.csv"
items = "{folder}/products.csv"
category_separator = "/"
min_user_interactions = 3
rl_targets = 1

[data.columns] # our name = yours
user_id = "customer"
item_id = "sku"
timestamp = "bought"
rating = "stars"
title = "name"
categories = "tags"
"""


def main(folder: Path) -> Dataset:
    """Write the files, prepare them, and show the parts of the split."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sales.csv").write_text(SALES)
    (folder / "products.csv").write_text(PRODUCTS)
    settings = folder / "shop.toml"
    settings.write_text(SETTINGS.format(folder=folder.as_posix()))

    dataset = run_data(Run.create(folder / "run", load_config(file=settings)))
    print(f"{dataset.catalog.n_items} items, {len(dataset.user_ids)} users")
    for part in ("rl", "validation", "test"):
        for example in dataset.examples(part):
            past = ", ".join(dataset.catalog[item].label for item in example.history)
            print(f"{part:<11} {example.user_id}: {past} -> {dataset.catalog[example.target].label}")
    return dataset


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own-data"))
