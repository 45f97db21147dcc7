"""The page for those with a keyboard, a screen reader, a phone, or at night."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from looking import Eyes

Look = Callable[..., Eyes]


def fill_view(eyes: Eyes, view: str) -> None:
    """Open a view and have something in it."""
    if view == "explore":
        eyes.goto("#/explore?user=u7")
        eyes.explore()
    elif view == "titles":
        eyes.goto("#/explore?who=titles")
        eyes.page.get_by_role("combobox", name="Add a title").fill("the")
        eyes.page.keyboard.press("Enter")
        eyes.options().first.wait_for()
    elif view == "compare":
        eyes.goto("#/compare?user=u7")
        eyes.compare()
    elif view == "trajectories":
        eyes.goto("#/trajectories?show=0")
        eyes.page.get_by_role("table", name="Reward by part").wait_for()
    elif view == "curves":
        eyes.goto("#/curves?stage=trm&find=ndcg")
        eyes.page.get_by_role("img").first.wait_for()
        eyes.page.get_by_text("Numbers").first.click()
    else:
        eyes.goto("#/explore?user=nobody")
        eyes.page.get_by_role("alert").wait_for()


VIEWS = ("explore", "titles", "compare", "trajectories", "curves", "problem")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_violation(look: Look, scheme: str) -> None:
    eyes = look(scheme=scheme)
    found = {}
    for view in VIEWS:
        fill_view(eyes, view)
        found[view] = eyes.violations()
        if scheme == "dark":
            eyes.picture(f"{view}-dark")
    assert found == {view: [] for view in VIEWS}


def test_a_narrow_phone_needs_no_sideways_scrolling(look: Look) -> None:
    eyes = look(width=320, height=640)
    wide = {}
    for view in VIEWS:
        fill_view(eyes, view)
        wide[view] = eyes.wider_than_screen()
        eyes.picture(f"{view}-phone", whole=True)
    assert wide == dict.fromkeys(VIEWS, 0)


def test_results_come_into_view_below_the_form(look: Look) -> None:
    eyes = look("#/explore?user=u7", width=390, height=700)
    eyes.see("Latest 5 of")
    eyes.explore()
    eyes.page.wait_for_timeout(200)
    top = eyes.heading("Exploration").bounding_box()["y"]
    assert 0 <= top < 350


def test_all_with_the_keyboard(look: Look) -> None:
    """From the first Tab to a rating, without a pointer."""
    eyes = look()
    press = eyes.page.keyboard.press
    eyes.see("Nothing explored yet")
    press("Tab")
    assert eyes.focus() == "Skip to the content"
    press("Enter")
    assert eyes.focus() == "Explore"  # the heading of the view
    press("Tab")
    press("ArrowRight")
    assert eyes.focus() == "Titles I pick"
    press("Tab")
    assert eyes.focus() == "Add a title"
    eyes.page.keyboard.type("the")
    eyes.marked_option().wait_for()
    press("ArrowDown")
    second = eyes.options().nth(1)
    assert second.get_attribute("aria-selected") == "true"
    field = eyes.page.get_by_role("combobox", name="Add a title")
    assert field.get_attribute("aria-activedescendant") == second.get_attribute("id")
    title = second.locator("span").inner_text()
    press("Enter")
    eyes.hear(f"{title} added as number 1.")
    assert field.get_attribute("aria-expanded") == "false"
    press("Shift+Tab")
    press("ArrowLeft")
    press("Tab")
    eyes.page.keyboard.type("u9")
    eyes.marked_option().wait_for()
    press("Enter")
    eyes.see("Latest 5 of")
    for name in ("What are you in the mood for?", "List length", "Most turns", "Deadline, s", "Explore"):
        press("Tab")
        assert eyes.focus() == name
    press("Enter")
    eyes.page.get_by_role("list", name="Recommended items").wait_for()
    for _ in range(40):
        press("Tab")
        if eyes.focus().startswith("Interested in"):
            break
    press("Space")
    eyes.hear("Noted: interested")
    press("Tab")
    press("Space")
    eyes.hear("Noted: 1 of 5")


def test_what_is_composed_goes_along(look: Look) -> None:
    eyes = look("#/explore?user=u7&k=3")
    eyes.page.get_by_role("link", name="Compare", exact=True).click()
    eyes.heading("Compare").wait_for()
    assert eyes.page.get_by_role("combobox", name="User").input_value() == "u7"
    eyes.page.locator(".run select").select_option("second")
    eyes.page.wait_for_url("**run=second**")
    assert eyes.page.get_by_label("List length").input_value() == "3"
    assert eyes.page.locator(".field-wide select").input_value() == "first"


def test_a_new_view_takes_the_focus_to_its_heading(look: Look) -> None:
    eyes = look()
    eyes.page.get_by_role("link", name="Curves").click()
    eyes.heading("Curves").wait_for()
    assert eyes.focus() == "Curves"
    assert eyes.page.evaluate("document.activeElement.tagName") == "H1"
    assert eyes.page.title() == "Curves · deeprec"
    assert eyes.page.get_by_role("link", name="Curves").get_attribute("aria-current") == "page"
    eyes.page.go_back()
    eyes.page.locator("h1:focus", has_text="Explore").wait_for()
