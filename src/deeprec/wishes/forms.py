"""Sentences around what a simulated wish means: those that training uses, and those held out for evaluation.

Held out are sentences, not the words that turn their sense ("leave out", "along the lines of"): a policy that is built
from a catalogue knows no word that it was never shown. What a pretrained one makes of new words is open.

`{a}` and `{b}` are categories as people say them, `{d}` a decade, `{t}` a title, `{n}` what is not wanted.
No sentence is in both halves; a test says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Forms:
    """The sentences of one kind."""

    training: tuple[str, ...]
    held_out: tuple[str, ...]


_CATEGORY = Forms(
    (
        "{a}", "some {a}", "{a} please", "something {a}", "I want {a}", "I'd like {a}", "a good {a}", "show me {a}",
        "recommend me some {a}", "I feel like {a} tonight", "in the mood for {a}", "do you have {a}?", "more {a}",
        "give me {a}", "any {a}?", "looking for {a}", "what {a} can you suggest?", "find {a} for me",
        "got some {a}?", "tonight {a}", "maybe {a}", "let's have {a}", "how about {a}", "I could do with {a}",
        "{a} would be nice", "only {a}", "it should be {a}", "{a} for the weekend", "surprise me with {a}",
        "we want {a}", "I really want to see {a}", "as long as it's {a}", "anything in the way of {a}",
        "go for {a}",
    ),
    (
        "I could really go for {a} right now", "tonight it should be {a}", "got anything in the way of {a}?",
        "we want to watch or play {a} this weekend", "surprise me, as long as it is {a}",
    ),
)  # fmt: skip

FORMS: Mapping[str, Forms] = {
    "category": _CATEGORY,
    "vague": Forms(
        (
            "something {a}", "something {a} please", "I want something {a}", "one {a}", "show me something {a}",
            "I feel like something {a}", "do you have something {a}?", "anything {a}?", "{a}", "a good one {a}",
            "looking for something {a}", "find me one {a}",
            "got something {a}?", "tonight something {a}", "it should be {a}", "something {a} would be nice",
            "how about something {a}", "as long as it's {a}", "we want one {a}", "surprise me with something {a}",
            "go for something {a}",
        ),
        (
            "tonight it should be something {a}", "got anything {a}?", "surprise me, as long as it is {a}",
            "I could really go for something {a} right now",
        ),
    ),
    "misspelt": _CATEGORY,
    "decade": Forms(
        (
            "something from {d}", "{d}", "from {d} please",
            "I want something from {d}", "show me {d}", "anything from {d}",
            "an old one from {d}", "what was good in {d}?", "back to {d}", "made in {d}", "one of {d}", "I miss {d}",
        "it came out in {d}", "it should be from {d}", "only from {d}", "take me to {d}", "people talk about {d}",
        "pick one from {d}", "tonight {d}", "go back into {d}",
        ),
        (
            "it ought to be from {d}", "take me back into {d}", "only what came out in {d}",
            "my parents keep talking about {d}, pick from there",
        ),
    ),
    "both": Forms(
        (
            "{a} from {d}", "some {a} from {d}",
            "something {a} from {d}", "{a} of {d} please", "I want {a} made in {d}",
            "a good {a} from {d}", "do you have {a} from {d}?", "from {d}, some {a}", "in the mood for {a} of {d}",
            "show me {d} {a}", "{a}, and from {d}", "recommend {a} out of {d}",
            "{a} that came out in {d}", "{a}, ideally from {d}", "got some {a} from {d}?",
            "take me to {d} with {a}", "tonight {a} from {d}", "{a} but from {d}", "I'd love {d} {a}",
        ),
        (
            "got any {a} that came out in {d}?",
            "I'd love {a}, ideally from {d}", "take me back into {d} with some {a}",
            "tonight {a}, but one from {d}",
        ),
    ),
    "two": Forms(
        (
            "{a} and {b}", "some {a} with {b}", "{a}, {b}", "a {a} that is also {b}", "I want {a} and {b}",
            "both {a} and {b} please", "a mix of {a} and {b}",
            "something {a} and {b}", "{a} plus {b}", "show me {a} {b}",
        "{a} as well as {b}", "{a} meets {b}", "half {a} and half {b}", "{a} or {b} or both",
        "ideally {a} and {b}", "it can be {a} with {b}", "perfect would be {a} and {b}",
        ),
        (
            "half {a}, half {b} would be perfect", "ideally {a} meets {b}", "can it be {a} as well as {b}?",
            "we can't agree on {a} or {b}, so both",
        ),
    ),
    "like": Forms(
        (
            "like {t}", "something like {t}", "more like {t}", "similar to {t}", "I loved {t}, what else?",
            "something in the style of {t}", "another one like {t}", "one that is like {t}", "as good as {t}",
            "what comes close to {t}?", "I liked {t}", "if I enjoyed {t}, what next?",
        "{t} was great", "I enjoyed {t}", "the next {t}", "along the lines of {t}", "{t} is my favourite",
        "people enjoy {t}", "since I liked {t}", "find me one like {t}", "what do people like who like {t}?",
        ),
        (
            "{t} was great, anything along those lines?",
            "find me the next {t}", "since {t} was my favourite, what now?",
            "people who enjoy {t} also enjoy what?",
        ),
    ),
    "exclusion": Forms(
        (
            "{a}, no {n}", "{a} but no {n}",
            "some {a} without {n}", "{a} but not {n}", "I want {a}, but please no {n}",
            "something {a}, and no {n}", "no {n}, some {a}", "{a}, anything but {n}", "{a} and never {n}",
            "show me {a} that is not {n}", "not {n}, I want {a}",
            "{a}, but leave {n} out", "{a}, I hate {n}", "{a} and I can't stand {n}", "spare me {n}, show me {a}",
            "{a} is fine, {n} is not", "{a}, as long as there is no {n}", "skip {n}, show me {a}",
            "I'm tired of {n}, {a} please", "leave out {n}, some {a} would be fine",
            "I can't stand {n}, got some {a}?",
        ),
        (
            "I could go for {a} as long as it's no {n}", "spare me {n}, tonight it should be {a}",
            "{a} would be fine, only leave {n} out", "got {a}? I can't stand {n}",
        ),
    ),
    "newer": Forms(
        (
            "like {t} but newer", "something like {t}, but newer", "similar to {t} but more recent", "a newer {t}",
            "like {t}, only more recent", "{t}, but a newer one", "I liked {t}, now something newer",
            "like {t} but one that came out later", "along the lines of {t} but not as old",
            "something like {t} since then", "the next {t}, only newer", "{t} was great, a newer one please",
            "not as old as {t}, but like it", "like {t}, later",
        ),
        (
            "the next {t}, but one that came out later", "{t} was great, anything of that sort since?",
            "along the lines of {t}, just not as old",
        ),
    ),
}  # fmt: skip

# What people say around it.
TALK = Forms(
    (
        "Hi! {}", "{} Thanks!", "Hello, {}", "It's Friday and I'm tired. {}", "My friends are coming. {}",
        "{} It's been a long day.", "I don't know what to pick. {}", "Ok, {}", "{} I have two hours.", "Um, {}",
        "Please help me choose: {}", "{} We're three people.",
    ),
    (
        "Good evening, dear machine. {}", "So the rain won't stop and I'm stuck at home. {}",
        "{} And tell my sister I said hello.", "First things first, thank you for yesterday. {}",
    ),
)  # fmt: skip


def sentences(forms: Forms, *, held_out: bool) -> tuple[str, ...]:
    """One half."""
    return forms.held_out if held_out else forms.training
