"""Words that people use for what a catalogue calls otherwise. Made by hand, small, and no more than words.

`VAGUE` says how somebody may speak of a category without naming it; it holds what films and games are
commonly sorted by. A category that isn't here has no vague words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from deeprec.types import Item
from deeprec.wishes.held_out import NEW_VAGUE

# By the category's name, without regard to case.
VAGUE: Mapping[str, tuple[str, ...]] = {
    "action": ("with fights and chases", "full of explosions", "with stunts"),
    "adventure": ("with a long journey", "about explorers", "with a treasure"),
    "animation": ("drawn by hand", "a cartoon", "with drawn figures"),
    "children's": ("for the kids", "for a five-year-old", "that little ones enjoy"),
    "comedy": ("funny", "that makes me laugh", "hilarious"),
    "crime": ("with gangsters", "about a robbery", "with the mafia"),
    "documentary": ("about true facts", "that teaches me about the world", "non-fiction"),
    "drama": ("serious and moving", "that makes me cry", "deep and emotional"),
    "fantasy": ("with magic", "with dragons and wizards", "like a fairy tale"),
    "film-noir": ("dark, in black and white", "with a cynical detective", "with a femme fatale"),
    "horror": ("scary", "creepy", "that gives me nightmares"),
    "musical": ("with singing and dancing", "with songs", "where everybody sings"),
    "mystery": ("with a riddle to solve", "where one guesses who did it", "puzzling"),
    "romance": ("about love", "romantic", "for a date"),
    "sci-fi": ("in space or the future", "with robots", "with aliens"),
    "thriller": ("that keeps me on the edge of my seat", "full of suspense", "tense"),
    "war": ("with soldiers", "about a battle", "about the army"),
    "western": ("with cowboys", "with gunslingers", "in the wild west"),
    "racing": ("with fast cars", "with karts", "where I can drive"),
    "sports": ("with football or tennis", "with a ball", "athletic"),
    "puzzle": ("for thinking", "with brain teasers", "to rack my brain"),
    "strategy": ("where I plan ahead", "with armies to lead", "tactical"),
    "role-playing": ("with a hero that grows", "with levels and quests", "where I make a character"),
    "shooter": ("with guns", "where I shoot", "with first-person gunfights"),
}

_WORD = re.compile(r"[^\W_]+")
TENS = {
    1920: "twenties", 1930: "thirties", 1940: "forties", 1950: "fifties",
    1960: "sixties", 1970: "seventies", 1980: "eighties", 1990: "nineties",
}  # fmt: skip

# Such a word in a title says nothing of it: every second wish has it.
FUNCTION_WORDS = frozenset(
    (
        "a", "an", "the", "of", "and", "or", "in", "on", "at", "to", "for", "from", "by", "with", "without",
        "not", "no", "but", "is", "it", "i", "me", "my", "you", "we", "us", "that", "this", "one", "some",
        "any", "than", "as", "like", "be", "do", "if", "so",
    )
)  # fmt: skip


# Common English words that say nothing of an item, nor turn what is said: what stands between those that do.
COMMON = (
    "the", "of", "to", "and", "in", "that", "is", "was", "he", "for", "it", "with", "on", "be", "at", "by",
    "had", "are", "from", "or", "have", "an", "they", "which", "you", "were", "all", "her", "she", "there",
    "would", "their", "we", "him", "been", "has", "when", "who", "will", "if", "out", "so", "up", "said",
    "what", "its", "about", "into", "them", "can", "only", "other", "time", "some", "could", "these", "two",
    "may", "first", "then", "do", "any", "my", "now", "over", "such", "our", "man", "me", "even", "most",
    "made", "after", "also", "well", "many", "must", "before", "back", "see", "through", "way", "where", "get",
    "much", "go", "how", "work", "life", "us", "take", "day", "come", "little", "very", "down", "make",
    "still", "own", "under", "last", "right", "really", "please", "maybe", "tonight", "just", "friend", "home",
    "thing", "think", "know", "say", "look", "need", "feel", "try", "keep", "let", "put", "seem", "help",
    "show", "start", "again", "always", "something", "nothing", "everybody",
)  # fmt: skip

_PUT_IN, _LEFT_OUT = 4, 0.15  # words put into a sentence, at most; share of its common words that go
_MADE_UP_SHARE = (
    0.3  # of the words put in, those that nobody has ever said: whatever is unknown tells nothing
)
_LETTERS = "eeeeetttaaaoooiiinnnssshhrrdlucmfwypvbgkjqxz"  # about as often as English has them


def loosen(sentence: str, rng: np.random.Generator) -> str:
    """The sentence with words put in, and some of its common ones left out: nobody says a thing as a book does.

    Slots in braces stay, and so does every word that is not common.

    >>> loosen("show me {a}, no {n}", np.random.default_rng(3))
    'me {a}, no {n}'
    """
    kept = [word for word in sentence.split(" ") if word.lower() not in COMMON or rng.random() >= _LEFT_OUT]
    for _ in range(int(rng.integers(_PUT_IN + 1))):
        kept.insert(int(rng.integers(len(kept) + 1)), _filler(rng))
    return " ".join(kept)


def _filler(rng: np.random.Generator) -> str:
    if rng.random() >= _MADE_UP_SHARE:
        return COMMON[int(rng.integers(len(COMMON)))]
    return "".join(
        _LETTERS[int(place)] for place in rng.integers(len(_LETTERS), size=int(rng.integers(3, 9)))
    )


def decade_names(decade: int, *, new: bool = False) -> tuple[str, ...]:
    """How people say a decade; with `new`, ways that training doesn't use, where there are any.

    >>> decade_names(1990), decade_names(2000)
    (('the 1990s', 'the nineties', 'the 90s'), ('the 2000s',))
    >>> decade_names(1990, new=True), decade_names(2000, new=True)
    (('the nineteen-nineties', "the '90s"), ('the 2000s',))
    """
    whole = f"the {decade}s"
    if decade not in TENS:
        return (whole,)
    if new:
        return f"the nineteen-{TENS[decade]}", f"the '{decade % 100}s"
    return whole, f"the {TENS[decade]}", f"the {decade % 100}s"


def vague_words(category: str, *, new: bool = False) -> tuple[str, ...]:
    """What people say for a category without naming it; with `new`, in words that training doesn't use.

    >>> vague_words("Western"), vague_words("Western", new=True)[0], vague_words("Bricks")
    (('with cowboys', 'with gunslingers', 'in the wild west'), 'with sheriffs and saloons', ())
    """
    return (NEW_VAGUE if new else VAGUE).get(category.casefold(), ())


def words(text: str) -> frozenset[str]:
    """The words of a text, in lower case, that say something.

    >>> sorted(words("Something like Heat (1995), but no Westerns"))
    ['1995', 'heat', 'something', 'westerns']
    """
    return frozenset(_WORD.findall(text.casefold())) - FUNCTION_WORDS


def title_words(item: Item) -> frozenset[str]:
    """The words of an item's title that no wish about it may hold; its year is none of them.

    >>> sorted(title_words(Item(1, "a", "The Big Sleep (1946)", "The Big Sleep (1946)", (), 1946)))
    ['big', 'sleep']
    """
    return words(f"{item.title} {item.label}") - {str(item.year)}


def misspell(word: str, rng: np.random.Generator, slips: int = 1) -> str:
    """The word after some slips of the keyboard; never the word itself, if it has a place for one.

    >>> misspell("comedy", np.random.default_rng(1)) != "comedy"
    True
    """
    found = word
    for _ in range(slips):
        found = _slip(found, rng)
    return found if found != word else _slip(word, rng)


def _slip(word: str, rng: np.random.Generator) -> str:
    """One slip of the keyboard behind the first letter: a letter left out, doubled, or changed places with the next."""
    places = [
        place for place in range(1, len(word) - 1) if word[place].isalpha() and word[place] != word[place + 1]
    ]
    if not places:
        return word
    at = places[int(rng.integers(len(places)))]
    slips = (
        word[:at] + word[at + 1 :],
        word[:at] + word[at] + word[at:],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
    )
    return slips[int(rng.integers(len(slips)))]
