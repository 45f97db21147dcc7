"""What goes wrong is said, with what to do about it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
from looking import Eyes
from serving import FIRST_ANSWER, KEY, Serving, Wire

Look = Callable[..., Eyes]


def test_key_asked_refused_and_taken(look: Look, guarded: Serving) -> None:
    eyes = look(base=guarded.url)
    dialog = eyes.page.get_by_role("dialog", name="API key")
    eyes.see("This service asks for a key.")
    assert eyes.focus() == "Key"
    eyes.picture("key")
    eyes.page.keyboard.type("not-the-key-at-all")
    eyes.page.keyboard.press("Enter")
    eyes.see("The service refused this key.")
    eyes.page.get_by_label("Key", exact=True).fill(KEY)
    eyes.button("Continue").click()
    eyes.see("Nothing explored yet")
    assert not dialog.is_visible()
    assert KEY not in eyes.page.url
    assert eyes.page.evaluate("Object.keys(localStorage).length") == 0


def test_key_not_given(look: Look, guarded: Serving) -> None:
    eyes = look(base=guarded.url)
    eyes.see("This service asks for a key.")
    eyes.page.keyboard.press("Escape")
    eyes.see("The service asks for its API key", "Enter the key that the service was started with.")
    eyes.button("Try again").click()
    eyes.see("This service asks for a key.")


@contextmanager
def crowd(url: str, clients: int = 6) -> Iterator[None]:
    """Others who ask without a pause, as long as the block lasts."""
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30) as client:
            while not over.is_set():
                client.post("/v1/recommendations", json={"user_id": "u1"})

    with ThreadPoolExecutor(clients) as others:
        asking = [others.submit(ask) for _ in range(clients)]
        try:
            yield
        finally:
            over.set()
    for one in asking:
        one.result()


def test_a_full_queue_is_counted_down(look: Look, guarded: Serving) -> None:
    eyes = look("#/explore?user=u7", base=guarded.url)
    eyes.page.get_by_label("Key", exact=True).fill(KEY)
    eyes.button("Continue").click()
    eyes.see("Latest 5 of")
    busy = eyes.page.get_by_text("The service is busy")
    again = eyes.page.get_by_role("button", name="Try again in")
    with crowd(guarded.url):
        for _ in range(20):  # once in a while one gets through
            eyes.button("Explore").click()
            eyes.page.locator(".results[aria-busy=false]").wait_for()
            if busy.is_visible():
                break
        eyes.see("The service is busy", "Your request was not worked on; nothing is lost.")
        assert again.is_disabled()
        eyes.picture("busy")
    eyes.button("Try again").click()  # waits until it may be pressed
    eyes.page.get_by_role("list", name="Recommended items").wait_for()


def test_feedback_that_can_not_be_stored(look: Look, service: Serving, run_folder: Path) -> None:
    """Somebody else holds the database: that is said, and a second try works."""
    eyes = look("#/explore?user=u11")
    eyes.explore()
    opinion = eyes.page.get_by_role("button", name="Interested in").first
    with closing(sqlite3.connect(run_folder.with_name("store.db"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        opinion.click()
        eyes.see("Not stored: Not available just now")
        assert opinion.get_attribute("aria-pressed") == "false"
        other.execute("ROLLBACK")
    opinion.click()
    eyes.hear("Noted: interested")
    assert [one.kind for one in service.store.feedback("u11") if one.kind != "impression"] == ["click"]


def test_unknown_user(look: Look) -> None:
    eyes = look("#/explore?user=nobody")
    eyes.see("Not found", "No user is called 'nobody'. Search for another one above.")
    eyes.button("Explore").click()
    eyes.page.get_by_text("newcomer: nothing is known of this user").wait_for()


def test_nobody_chosen(look: Look) -> None:
    eyes = look()
    eyes.button("Explore").click()
    eyes.see("No user chosen", "Search for a user and pick one from the list")
    eyes.page.get_by_role("radio", name="Titles I pick").check()
    eyes.button("Explore").click()
    eyes.see("No titles picked")


def test_a_number_too_large_names_the_field(look: Look) -> None:
    eyes = look("#/explore?user=u7&k=5000")
    eyes.button("Explore").click()
    eyes.see("k (5000):")
    assert eyes.button("Try again").count() == 0  # the same again would fail the same way


def test_service_gone_in_mid_stream(look: Look, service: Serving) -> None:
    with Wire(service.url, FIRST_ANSWER, "cut") as wire:
        eyes = look("#/explore?user=u7", base=wire.url)
        eyes.button("Explore").click()
        eyes.see("The exploration broke off", "run it again for a full list", "came back", "No list came.")
        eyes.picture("broke-off")


def test_service_gone_before_a_call(look: Look, service: Serving) -> None:
    with Wire(service.url, b"no such text", "cut") as wire:
        eyes = look("#/curves", base=wire.url)
        eyes.page.get_by_role("img").first.wait_for()
    eyes.page.get_by_role("link", name="Trajectories").click()
    eyes.see("The service can't be reached", "Check that “deeprec serve” still runs")
    assert eyes.button("Try again").is_enabled()


def test_a_run_that_is_not_served(look: Look) -> None:
    eyes = look("#/curves?run=elsewhere")
    eyes.see("Not found", "No run 'elsewhere' is served")
