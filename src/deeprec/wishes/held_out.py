"""Sentences that training never uses: to choose by, to measure by, and to measure new words by.

- `VALIDATION`: whatever is chosen (weights, settings, sentences of training) is chosen on these.
- `HELD_OUT`: the evaluation's. Other sentences, but the words that turn the sense ("without", "newer") are some of
  training's: a policy that is built from a catalogue knows no word that it was never shown.
- `NEW_WORDS`: what people say in words of which training has none. Where only the words around it are new, a
  policy can read on; where the word that tells is new, nothing but a model that has read elsewhere knows it.

The last two were written before any figure was looked at, and chose nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

_CATEGORY = (
    "I could really go for {a} right now", "tonight it should be {a}", "got anything in the way of {a}?",
    "we want to watch or play {a} this weekend", "surprise me, as long as it is {a}",
)  # fmt: skip
VALIDATION: Mapping[str, tuple[str, ...]] = {
    "category": _CATEGORY,
    "vague": (
        "tonight it should be something {a}", "got anything {a}?", "surprise me, as long as it is {a}",
        "I could really go for something {a} right now",
    ),
    "misspelt": _CATEGORY,
    "decade": (
        "it ought to be from {d}", "take me back into {d}", "only what came out in {d}",
        "my parents keep talking about {d}, pick from there",
    ),
    "both": (
        "got any {a} that came out in {d}?", "I'd love {a}, ideally from {d}",
        "take me back into {d} with some {a}", "tonight {a}, but one from {d}",
    ),
    "two": (
        "half {a}, half {b} would be perfect", "ideally {a} meets {b}", "can it be {a} as well as {b}?",
        "we can't agree on {a} or {b}, so both",
    ),
    "like": (
        "{t} was great, anything along those lines?", "find me the next {t}",
        "since {t} was my favourite, what now?", "people who enjoy {t} also enjoy what?",
    ),
    "exclusion": (
        "I could go for {a} as long as it's no {n}", "spare me {n}, tonight it should be {a}",
        "{a} would be fine, only leave {n} out", "got {a}? I can't stand {n}",
    ),
    "newer": (
        "the next {t}, but one that came out later", "{t} was great, anything of that sort since?",
        "along the lines of {t}, just not as old",
    ),
    "talk": (
        "Good evening, dear machine. {}", "So the rain won't stop and I'm stuck at home. {}",
        "{} And tell my sister I said hello.", "First things first, thank you for yesterday. {}",
    ),
}  # fmt: skip

_TEST_CATEGORY = (
    "my evening needs {a}", "could you dig out {a} for us?", "{a}, that's what I'm after",
    "what have you got in {a}?", "put on {a}, would you", "is there {a} worth the popcorn?",
)  # fmt: skip
HELD_OUT: Mapping[str, tuple[str, ...]] = {
    "category": _TEST_CATEGORY,
    "vague": (
        "my evening needs something {a}", "could you dig out something {a}?", "something {a}, that's what I'm after",
        "is there anything {a} worth the popcorn?", "put on something {a}, would you",
    ),
    "misspelt": _TEST_CATEGORY,
    "decade": (
        "pick whatever was big in {d}", "my evening belongs to {d}", "could you dig out a gem of {d}?",
        "{d}, that's where I want to be", "is there anything from {d} worth the popcorn?",
    ),
    "both": (
        "my evening needs {a} out of {d}", "could you dig out {a}, from {d} if you can?",
        "{d} had the best {a}, pick one", "{a}, that's what I'm after, and of {d}",
        "is there {a} from {d} worth the popcorn?",
    ),
    "two": (
        "my evening needs {a} and some {b} in it", "could you dig out one that does {a} and {b}?",
        "{a} and {b} in one, that's what I'm after", "is there {a} that counts as {b} too?",
    ),
    "like": (
        "my evening needs another one like {t}", "could you dig out one in the style of {t}?",
        "{t} made my week, more like it", "I keep coming back to {t}, what's similar?",
    ),
    "exclusion": (
        "my evening needs {a}, and no {n} at all", "could you dig out {a} without {n} in it?",
        "{a}, that's what I'm after, not {n}", "no {n} for me, but {a} any day",
        "I can never sit through {n}, so pick {a}", "leave {n} out of it and put on {a}",
        "you know I hate {n}, put on {a}, would you", "skip all {n}, is there {a} worth the popcorn?",
    ),
    "newer": (
        "could you dig out one like {t}, but newer?", "{t} made my week, is there a more recent one?",
        "my evening needs another {t}, only one that came later", "put on a newer {t}, would you",
    ),
    "talk": (
        "Evening! {}", "{} Cheers, and sorry for the fuss.", "The dishes are finally done. {}",
        "Right, where were we? {}", "{} Surprise us.",
    ),
}  # fmt: skip

_NEW_CATEGORY = ("craving {a}", "bring on {a}", "{a} suits us", "hankering after {a}", "fancy {a}, mate?")
NEW_WORDS: Mapping[str, tuple[str, ...]] = {
    "category": _NEW_CATEGORY,
    "vague": (
        "craving something {a}", "bring on something {a}", "whatever is {a} suits us", "fancy something {a}, mate?",
    ),
    "misspelt": _NEW_CATEGORY,
    "decade": ("hailing from {d}", "vintage of {d}", "dating back to {d}", "craving {d}"),
    "both": ("{a} hailing from {d}", "{a}, vintage of {d}", "craving {a} dating back to {d}", "bring on {d} {a}"),
    "two": ("{a} crossed with {b}", "{a} married to {b}", "a blend of {a}, {b}", "where {a} collides with {b}"),
    "like": (
        "{t} reminds me of better days, anything comparable?", "in the vein of {t}", "whatever fans of {t} adore",
        "a cousin of {t}",
    ),
    "exclusion": (
        "{a}, avoiding {n}", "{a} minus the {n}", "I'm allergic to {n}, {a} suits us though",
        "fed up with {n}, bring on {a}", "ban {n}, fancy {a}",
    ),
    "newer": ("a younger cousin of {t}", "in the vein of {t}, albeit fresher", "comparable to {t}, less dated"),
    "talk": ("Howdy partner. {}", "{} Ta, much obliged.", "Gosh, Monday again! {}"),
}  # fmt: skip

# For a category in words that training has none of; by its name, without regard to case.
NEW_VAGUE: Mapping[str, tuple[str, ...]] = {
    "action": ("with car crashes and brawls", "pumping adrenaline"),
    "adventure": ("swashbuckling", "about an expedition"),
    "animation": ("from a sketchbook", "with toons"),
    "children's": ("for toddlers", "fit for a nursery"),
    "comedy": ("silly", "full of jokes"),
    "crime": ("about burglars", "with a heist"),
    "documentary": ("factual", "with real-life footage"),
    "drama": ("tragic", "tear-jerking"),
    "fantasy": ("with elves and spells", "full of sorcery"),
    "film-noir": ("shadowy, with gumshoes", "hard-boiled"),
    "horror": ("terrifying", "spooky"),
    "musical": ("with show tunes", "with choruses"),
    "mystery": ("enigmatic", "with a whodunit"),
    "romance": ("lovey-dovey", "with kisses"),
    "sci-fi": ("with spaceships", "futuristic"),
    "thriller": ("nail-biting", "gripping"),
    "war": ("in the trenches", "about combat"),
    "western": ("with sheriffs and saloons", "on the prairie"),
    "racing": ("with motorbikes", "on a circuit"),
    "sports": ("with soccer", "olympic"),
    "puzzle": ("with jigsaws", "logical"),
    "strategy": ("with empires", "turn-based"),
    "role-playing": ("with dungeons", "full of loot"),
    "shooter": ("with rifles and snipers", "full of headshots"),
}
