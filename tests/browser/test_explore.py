"""Explore: choose a history, watch the turns, judge the list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from looking import Eyes
from serving import FIRST_ANSWER, Serving, Wire
from small_run import MARKUP

from deeprec.store import HistoryEntry

Look = Callable[..., Eyes]


def pick_title(eyes: Eyes, letters: str) -> str:
    """Search for a title and take the first one found."""
    field = eyes.page.get_by_role("combobox", name="Add a title")
    field.fill(letters)
    option = eyes.options().first
    option.wait_for()
    title = option.locator("span").inner_text()
    option.click()
    return title


def test_a_user_is_found_and_explored(look: Look, service: Serving) -> None:
    eyes = look()
    page = eyes.page
    eyes.see("Nothing explored yet")
    field = page.get_by_role("combobox", name="User")
    field.fill("u7")
    eyes.options().first.click()
    eyes.see("Latest 5 of")
    assert "user=u7" in page.url
    eyes.explore()
    turns = page.get_by_role("list", name="Turns").locator(":scope > li")
    assert turns.count() >= 1
    assert turns.first.get_by_role("heading").inner_text().lower() == "turn 1"
    assert page.get_by_text("came back").first.is_visible()
    assert turns.first.locator(".badge").all_inner_texts()[:5] == ["new"] * 5
    ranking = page.get_by_role("list", name="Recommended items").locator(":scope > li")
    assert ranking.count() == 4
    origins = ranking.locator(".origin").all_inner_texts()
    assert all("Turn" in text or "TRM" in text or "Named by the model" in text for text in origins), origins
    eyes.hear("4 items recommended")
    eyes.picture("explore", whole=True)


def test_turns_come_before_the_list(look: Look, service: Serving) -> None:
    """The stream is held after the first answer of the TRM: the turn is there, the list isn't. Stop ends it."""
    with Wire(service.url, FIRST_ANSWER, "hold") as wire:
        eyes = look("#/explore?user=u7", base=wire.url)
        eyes.button("Explore").click()
        eyes.see("came back", "The list comes when the model has finished.")
        assert eyes.page.get_by_role("list", name="Recommended items").count() == 0
        eyes.hear("Turn 1:")
        eyes.picture("streaming")
        eyes.button("Stop").click()
        eyes.see("Stopped. What had come by then stays here")
        assert eyes.page.locator(".retrieved").is_visible()
        assert wire.hung_up.wait(5), "the service was not told"
    assert eyes.focus() == "Explore"  # the button is the same one, so the focus stays


def test_feedback_reaches_the_store(look: Look, service: Serving) -> None:
    eyes = look("#/explore?user=u12")
    eyes.explore()
    first = eyes.page.get_by_role("list", name="Recommended items").locator(":scope > li").first
    title = first.get_by_role("heading").inner_text()
    eyes.button(f"Interested in {title}").click()
    eyes.hear(f"Noted: interested, {title}.")
    first.get_by_role("radio", name="4 of 5").check()
    eyes.hear(f"Noted: 4 of 5, {title}.")
    assert first.get_by_text("Noted: 4 of 5").is_visible()
    kept = list(service.store.feedback("u12"))
    assert Counter(one.kind for one in kept) == {"impression": 4, "click": 1, "rating": 1}
    assert [one.value for one in kept if one.kind == "rating"] == [4.0]
    assert {one.run for one in kept} == {"first"}
    assert len({one.request_id for one in kept}) == 1
    eyes.picture("feedback")


def test_a_history_of_titles(look: Look, service: Serving) -> None:
    eyes = look("#/explore?who=titles")
    page = eyes.page
    titles = [pick_title(eyes, letters) for letters in ("the", "an", "2")]
    picked = page.get_by_role("list", name="History, oldest first").locator(".picked-title")
    assert picked.all_inner_texts() == titles
    eyes.button(f"Move {titles[2]} up").click()
    eyes.hear(f"{titles[2]} is now number 2.")
    assert picked.all_inner_texts() == [titles[0], titles[2], titles[1]]
    assert eyes.focus() == f"Move {titles[2]} up"
    eyes.button(f"Remove {titles[0]}").click()
    assert picked.all_inner_texts() == [titles[2], titles[1]]
    assert eyes.focus() == f"Remove {titles[2]}"
    page.reload()  # the address holds what was composed
    picked.first.wait_for()
    assert picked.all_inner_texts() == [titles[2], titles[1]]
    page.get_by_label("List length").fill("3")
    before = service.store.info().feedback
    eyes.explore()
    assert page.get_by_role("list", name="Recommended items").locator(":scope > li").count() == 3
    eyes.see("Pick a known user to give feedback")
    assert service.store.info().feedback == before


def as_it_was(route: Any) -> None:
    """The answer with the brackets that our own catalogue has turned into harmless ones."""
    response = route.fetch()
    route.fulfill(response=response, body=response.text().replace("‹", "<").replace("›", ">"))


def test_text_is_never_markup(look: Look, service: Serving) -> None:
    """Titles, ids and what comes back in problems; the data holds an image that would rename the page."""
    item = HistoryEntry("i1")
    service.store.put_history(MARKUP, [item])
    eyes = look()
    page = eyes.page
    page.route("**/v1/**", as_it_was)
    page.get_by_role("combobox", name="User").fill("<img")
    eyes.options().first.click()
    assert page.locator(".latest li").inner_text() == MARKUP
    eyes.explore()
    page.get_by_role("radio", name="Titles I pick").check()
    assert pick_title(eyes, "img") == MARKUP
    assert page.locator(".picked-title").inner_text() == MARKUP
    eyes.goto(f"#/explore?{urlencode({'user': MARKUP + '?', 'run': 'first'})}")
    eyes.see("No user is called '<img src=x")
    eyes.goto(f"#/curves?{urlencode({'run': MARKUP.replace('/', '')})}")
    eyes.see("No run '<img src=x")
    assert page.locator("main img[src], main b:text-is('bold')").count() == 0
    assert page.title() == "Curves · deeprec"
    service.store.delete_user(MARKUP)


def test_the_trm_answers_when_time_is_up(look: Look) -> None:
    eyes = look("#/explore?user=u7&deadline=0.001")
    eyes.explore()
    eyes.see("This is the TRM's own list", "From the TRM's own ranking")


def test_an_item_leads_to_the_turn_it_was_found_in(look: Look) -> None:
    eyes = look("#/explore?user=u7")
    eyes.explore()
    link = eyes.page.locator(".origin button").first
    item = link.locator("xpath=ancestor::li").get_by_role("heading").inner_text()
    link.click()
    eyes.page.locator("[id^=turn-]:focus").wait_for()
    assert eyes.focus().startswith(item)


def test_what_is_being_typed_stays(look: Look) -> None:
    """The list is drawn anew while somebody types into a field."""
    eyes = look("#/explore?user=u7")
    eyes.see("Latest 5 of")
    field = eyes.page.get_by_label("List length")
    eyes.button("Explore").click()
    field.press_sequentially("2")
    eyes.page.get_by_role("list", name="Recommended items").wait_for()
    assert field.input_value() == "2"
    field.press("Tab")
    eyes.page.wait_for_url("**k=2**")


WISH = "something funny from the nineties, no musicals"


def test_a_wish_is_said_shown_and_kept(look: Look, service: Serving) -> None:
    """By keyboard alone, on a phone's width."""
    eyes = look("#/explore?user=u7", width=360)
    page = eyes.page
    field = page.get_by_role("textbox", name="What are you in the mood for?")
    field.focus()
    page.keyboard.type(WISH)
    page.keyboard.press("Enter")
    eyes.see("This run’s policy has learned from no wishes")
    eyes.see("You said", WISH, "Recommendations")
    page.get_by_role("list", name="Recommended items").wait_for()
    assert "wish=something" in page.url
    with page.expect_request("**/v1/feedback") as sent:
        page.get_by_role("button", name="Interested").first.click()
    assert sent.value.post_data_json["wish"] == WISH
    assert eyes.wider_than_screen() <= 0
    assert eyes.violations() == []
    eyes.picture("wish", whole=True)


def test_a_long_word_and_markup_of_a_wish_stay_text(look: Look, service: Serving) -> None:
    eyes = look("#/explore?user=u7", width=360)
    eyes.page.get_by_role("textbox", name="What are you in the mood for?").fill(MARKUP + "w" * 300)
    eyes.explore()
    eyes.see("‹img src=x")
    assert "broken" not in eyes.page.title()
    assert eyes.wider_than_screen() <= 0


def test_a_wish_alone_is_enough(look: Look, service: Serving) -> None:
    eyes = look("#/explore?wish=funny", width=360)
    eyes.button("Explore").click()
    eyes.see("You said", "funny")
    eyes.page.get_by_role("list", name="Recommended items").wait_for()


def test_with_and_without_a_wish_side_by_side(look: Look, service: Serving) -> None:
    eyes = look("#/compare?user=u7&wish=funny")
    eyes.button("Compare").click()
    eyes.see("DeepRec, with the wish", "Without the wish", "Plain TRM")
    eyes.hear("share")
