"""The catalogue's tokenizer: one token a label, and any text reads back."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from deeprec.data.catalog import Catalog
from deeprec.errors import PolicyError
from deeprec.policy.tokenizer import build_tokenizer
from deeprec.rollout.codec import TokenizerCodec
from deeprec.rollout.tags import TAGS
from deeprec.types import Item

LABELS = (
    "Alien", "Aliens", "Alien 3", "M", "54", "9", "Se7en", "Amélie", "君の名は。", "It", "$", "Action",
    "1. FC Köln", "(500) Days of Summer", "Who's Afraid?", "İstanbul 🎬", "Emma [3]", "Cléo de 5 à 7",
)  # fmt: skip
CATEGORIES = ("Sci-Fi", "Children's", "Film-Noir", "Drama")
TEXTS = ["The user likes films of the 1990s, so they may want a drama. "] * 3


def catalog_of(labels: tuple[str, ...]) -> Catalog:
    return Catalog(
        tuple(
            Item(n, f"i{n}", label, label, (CATEGORIES[n % 4],), 1950 + n % 70)
            for n, label in enumerate(labels, 1)
        )
    )


@cache
def codec() -> TokenizerCodec:
    return TokenizerCodec(build_tokenizer(catalog_of(LABELS), TEXTS, pieces=300))


def tokens(text: str) -> list[str]:
    names: list[str] = codec().tokenizer.convert_ids_to_tokens(codec().encode(text))
    return names


@pytest.mark.parametrize("label", LABELS)
def test_a_list_line_is_two_tokens(label: str) -> None:
    assert tokens(f"\n7. {label}\n8. Alien") == ["\n7. ", label, "\n8. ", "Alien"]


def test_numbered_lines_go_up_to_the_number_asked_for() -> None:
    tokenizer = build_tokenizer(catalog_of(LABELS), TEXTS, pieces=300, lines=30)
    for number in (1, 10, 29, 30):
        assert len(tokenizer.encode(f"\n{number}. ")) == 1
    assert len(tokenizer.encode("\n31. ")) > 1


@pytest.mark.parametrize("label", LABELS)
def test_a_history_line_is_two_tokens(label: str) -> None:
    assert tokens(f"\n- {label}\n- Alien") == ["\n- ", label, "\n- ", "Alien"]


def test_labels_are_found_as_whole_words_only() -> None:
    assert "54" not in tokens("1954; 54th")
    assert "Alien" not in tokens("Alienation")
    assert tokens("see Aliens and Alien")[-1] == "Alien"


def test_phrases_and_decades_are_one_token_wherever_they_stand() -> None:
    names = tokens(f"{TAGS.begin_preference}Sci-Fi; 1990s; Film-Noir{TAGS.end_preference} Sci-Fi")
    assert names[1:7] == ["Sci-Fi", "; ", "1990s", "; ", "Film-Noir", TAGS.end_preference]
    assert names[-1] == "Sci-Fi"


def test_every_tag_pad_and_eos_are_special_tokens() -> None:
    for tag in TAGS.all:
        assert codec().encode(f"a{tag}b")[1] == codec().tag_ids[tag]
        assert codec().tokenizer.added_tokens_decoder[codec().tag_ids[tag]].special
        assert codec().tokenizer.decode(codec().encode(tag), skip_special_tokens=True) == ""
    assert codec().tokenizer.pad_token_id != codec().eos_id


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.text(), st.sampled_from([*LABELS, *TAGS.all, "\n1. ", " ", "<0x41>", "é"]))))
def test_any_text_reads_back(parts: list[str]) -> None:
    text = "".join(parts)
    assert codec().decode(codec().encode(text)) == text


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5, unique=True))
def test_any_label_reads_back(labels: list[str]) -> None:
    from deeprec.data.catalog import build_labels

    labels = build_labels(labels, [str(n) for n in range(len(labels))], [None] * len(labels))
    built = TokenizerCodec(build_tokenizer(catalog_of(tuple(labels)), TEXTS, pieces=120))
    text = "".join(f"\n{number}. {label}" for number, label in enumerate(labels, 1)) + "\n"
    assert built.decode(built.encode(text)) == text


def test_saved_and_loaded_it_encodes_the_same(tmp_path: Path) -> None:
    codec().tokenizer.save_pretrained(tmp_path)
    loaded = TokenizerCodec(AutoTokenizer.from_pretrained(tmp_path))
    text = f"{TAGS.begin_items}\n1. Amélie\n2. M\n{TAGS.end_items}\nA 1990s Thing\u200b ünd"
    assert loaded.encode(text) == codec().encode(text)
    assert loaded.decode(loaded.encode(text)) == text
    assert loaded.tag_ids == codec().tag_ids
    assert loaded.eos_id == codec().eos_id
    assert loaded.tokenizer.pad_token_id == codec().tokenizer.pad_token_id


def test_building_is_deterministic() -> None:
    again = build_tokenizer(catalog_of(LABELS), TEXTS, pieces=300)
    assert again.get_vocab() == codec().tokenizer.get_vocab()


def test_a_label_with_a_tag_is_refused() -> None:
    with pytest.raises(PolicyError, match="holds a tag"):
        build_tokenizer(catalog_of(("Alien", f"Bad {TAGS.end_items}")), TEXTS, pieces=120)
