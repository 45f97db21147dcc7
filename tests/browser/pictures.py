"""Make the README's pictures anew: python tests/browser/pictures.py RUN [docs/images]

RUN is a finished run on simulated data, such as runs/quickstart. The real service answers, for the
user whose exploration brings the most items; what is stored meanwhile is thrown away.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

import httpx
from looking import Eyes
from playwright.sync_api import sync_playwright
from serving import Serving

from deeprec.run import Run

ROOT = Path(__file__).resolve().parents[2]
USERS = 80  # looked through
SIZE = {"width": 1280, "height": 920}


def widest(url: str) -> str:
    """The user, of the first ones, whose turns retrieve the most different items."""
    found: dict[str, int] = {}
    with httpx.Client(base_url=url, timeout=60) as client:
        for user in client.get("/v1/users", params={"limit": USERS}).json()["users"]:
            answer = client.post("/v1/recommendations", json={"user_id": user["user_id"]}).json()
            new = [item["new"] for turn in answer["turns"] for item in turn["retrieved"]]
            found[user["user_id"]] = sum(new)
    return max(found, key=lambda user: found[user])


def main() -> None:
    """Serve the run, and look at it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "docs" / "images")
    arguments = parser.parse_args()
    name = Run.open(arguments.run).config.data.name
    if name != "synthetic":
        parser.error(
            f"{arguments.run} is a run on {name}: pictures show titles, so only simulated ones are published"
        )
    browser_path = os.environ.get("DEEPREC_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as kept, sync_playwright() as started:
        browser = started.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        store = str(Path(kept) / "store.db")
        with Serving([arguments.run], store=store, overrides=["serve.rate=0"]) as serving:
            eyes = Eyes(browser, serving.url, arguments.folder, **SIZE)
            eyes.goto(f"#/explore?user={widest(serving.url)}")
            eyes.see("Latest 5 of")
            eyes.explore()
            picks = eyes.page.get_by_role("list", name="Recommended items").locator(":scope > li")
            picks.nth(0).get_by_role("button", name="Interested").click()
            picks.nth(1).get_by_role("radio", name="4 of 5").check()
            picks.get_by_text("Noted").nth(1).wait_for()
            eyes.page.evaluate("scrollTo(0, 0)")
            eyes.picture("explore")
            eyes.goto("#/trajectories?stage=recommendation&turns=3&min_reward=1")
            eyes.page.locator(".rows a").first.click()
            eyes.page.get_by_role("table", name="Reward by part").wait_for()
            eyes.page.evaluate("scrollTo(0, 0)")
            eyes.picture("trajectories")
        browser.close()


if __name__ == "__main__":
    main()
