"""Sentences around what a simulated wish means, as training says them. Those held out are in `held_out.py`.

`{a}` and `{b}` are categories as people say them, `{d}` a decade, `{t}` a title, `{n}` what is not wanted.
A test says that no sentence is also held out, and that new words are new.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from deeprec.wishes.held_out import HELD_OUT, NEW_WORDS, VALIDATION

Sentences = Literal["training", "validation", "held-out", "new-words"]

_CATEGORY = (
    "{a}", "some {a}", "{a} please", "something {a}", "I want {a}", "I'd like {a}", "a good {a}", "show me {a}",
    "recommend me some {a}", "I feel like {a} tonight", "in the mood for {a}", "do you have {a}?", "more {a}",
    "give me {a}", "any {a}?", "looking for {a}", "what {a} can you suggest?", "find {a} for me",
    "got some {a}?", "tonight {a}", "maybe {a}", "let's have {a}", "how about {a}", "I could do with {a}",
    "{a} would be nice", "only {a}", "it should be {a}", "{a} for the weekend", "surprise me with {a}",
    "we want {a}", "I really want to see {a}", "as long as it's {a}", "anything in the way of {a}",
    "go for {a}",
)  # fmt: skip
TRAINING: Mapping[str, tuple[str, ...]] = {
    "category": _CATEGORY,
    "vague": (
        "something {a}", "something {a} please", "I want something {a}", "one {a}", "show me something {a}",
        "I feel like something {a}", "do you have something {a}?", "anything {a}?", "{a}", "a good one {a}",
        "looking for something {a}", "find me one {a}",
        "got something {a}?", "tonight something {a}", "it should be {a}", "something {a} would be nice",
        "how about something {a}", "as long as it's {a}", "we want one {a}", "surprise me with something {a}",
        "go for something {a}",
    ),
    "misspelt": _CATEGORY,
    "decade": (
        "something from {d}", "{d}", "from {d} please", "I want something from {d}", "show me {d}",
        "anything from {d}", "an old one from {d}", "what was good in {d}?", "back to {d}", "made in {d}",
        "one of {d}", "I miss {d}", "it came out in {d}", "it should be from {d}", "only from {d}", "take me to {d}",
        "people talk about {d}", "pick one from {d}", "tonight {d}", "go back into {d}", "the best of {d}",
    ),
    "both": (
        "{a} from {d}", "some {a} from {d}", "something {a} from {d}", "{a} of {d} please", "I want {a} made in {d}",
        "a good {a} from {d}", "do you have {a} from {d}?", "from {d}, some {a}", "in the mood for {a} of {d}",
        "show me {d} {a}", "{a}, and from {d}", "recommend {a} out of {d}", "{a} that came out in {d}",
        "{a}, ideally from {d}", "got some {a} from {d}?", "take me to {d} with {a}", "tonight {a} from {d}",
        "{a} but from {d}", "I'd love {d} {a}", "{d}, {a}", "the best {a} that {d} had",
    ),
    "two": (
        "{a} and {b}", "some {a} with {b}", "{a}, {b}", "a {a} that is also {b}", "I want {a} and {b}",
        "both {a} and {b} please", "a mix of {a} and {b}", "something {a} and {b}", "{a} plus {b}",
        "show me {a} {b}", "{a} as well as {b}", "{a} meets {b}", "half {a} and half {b}", "{a} or {b} or both",
        "ideally {a} and {b}", "it can be {a} with {b}", "perfect would be {a} and {b}", "{a}, but {b} too",
    ),
    "like": (
        "like {t}", "something like {t}", "more like {t}", "similar to {t}", "I loved {t}, what else?",
        "something in the style of {t}", "another one like {t}", "one that is like {t}", "as good as {t}",
        "what comes close to {t}?", "I liked {t}", "if I enjoyed {t}, what next?", "{t} was great",
        "I enjoyed {t}", "the next {t}", "along the lines of {t}", "{t} is my favourite", "people enjoy {t}",
        "since I liked {t}", "find me one like {t}", "what do people like who like {t}?", "{t}", "another {t}",
    ),
    "exclusion": (
        "{a}, no {n}", "{a} but no {n}", "some {a} without {n}", "{a} but not {n}", "I want {a}, but please no {n}",
        "something {a}, and no {n}", "no {n}, some {a}", "{a}, anything but {n}", "{a} and never {n}",
        "show me {a} that is not {n}", "not {n}, I want {a}", "{a}, but leave {n} out", "{a}, I hate {n}",
        "{a} and I can't stand {n}", "spare me {n}, show me {a}", "{a} is fine, {n} is not",
        "{a}, as long as there is no {n}", "skip {n}, show me {a}", "I'm tired of {n}, {a} please",
        "leave out {n}, some {a} would be fine", "I can't stand {n}, got some {a}?", "without {n}, but {a}",
        "never {n}, only {a}", "I hate {n}, so {a}", "{a}, leave out the {n}", "{a}, skip the {n}", "{a} except {n}",
        "{a}, I don't like {n}", "I don't want {n}, I want {a}", "{a} instead of {n}", "rather {a} than {n}",
        "no more {n}, {a} now", "{a}, just nothing with {n}", "nothing {n}, but {a}", "anything but {n}, ideally {a}",
        "enough {n}, show me {a}", "{a} with no {n} in it", "{n} is not for me, {a} is", "{a} that has no {n}",
    ),
    "newer": (
        "like {t} but newer", "something like {t}, but newer", "similar to {t} but more recent", "a newer {t}",
        "like {t}, only more recent", "{t}, but a newer one", "I liked {t}, now something newer",
        "like {t} but one that came out later", "along the lines of {t} but not as old",
        "something like {t} since then", "the next {t}, only newer", "{t} was great, a newer one please",
        "not as old as {t}, but like it", "like {t}, later", "a more recent {t}", "newer than {t}",
        "newer, but like {t}", "I loved {t}, what came later?", "as good as {t} and more recent",
    ),
    # What people say around it.
    "talk": (
        "Hi! {}", "{} Thanks!", "Hello, {}", "It's Friday and I'm tired. {}", "My friends are coming. {}",
        "{} It's been a long day.", "I don't know what to pick. {}", "Ok, {}", "{} I have two hours.", "Um, {}",
        "Please help me choose: {}", "{} We're three people.",
    ),
}  # fmt: skip

TALK = "talk"
KINDS = tuple(kind for kind in TRAINING if kind != TALK)
_ALL: Mapping[Sentences, Mapping[str, tuple[str, ...]]] = {
    "training": TRAINING,
    "validation": VALIDATION,
    "held-out": HELD_OUT,
    "new-words": NEW_WORDS,
}


def sentences(kind: str, which: Sentences) -> tuple[str, ...]:
    """Those of one kind (or of `TALK`), each with its slots in braces."""
    return _ALL[which][kind]
