"""Text encoders: `lsa`, fitted on the catalogue, or any sentence-transformers model."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deeprec.disk import whole_file
from deeprec.errors import ConfigError, MissingExtraError, first_line
from deeprec.model_errors import is_unreadable
from deeprec.trm.encoder_folders import check_encoder
from deeprec.trm.phrases import SEPARATOR, item_phrases
from deeprec.types import Item

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_WORD = re.compile(r"\w+")
_PROBE = ("Action; 1990s", "a quiet story about a small town", "Role-Playing")
_HELD = 0.1  # share of a text's length that must survive the projection
_MEMORY = 200_000  # texts kept in memory by a cached encoder


def item_text(item: Item) -> str:
    """What is embedded of an item: label, categories, decade and year.

    >>> item_text(Item(1, "a", "Alien", "Alien (1979)", ("Sci-Fi",), 1979))
    'Alien (1979); Sci-Fi; 1970s; 1979'
    """
    return SEPARATOR.join([item.label, *item_phrases(item)])


class LsaEncoder:
    """TF-IDF of words and word pairs, reduced by a truncated SVD, unit rows.

    Works on any text; words that the catalogue never uses and English function words are
    ignored, and a text made of such words only gets a zero row. Word pairs never cross a `;`.
    """

    def __init__(
        self, vocabulary: dict[str, int], idf: NDArray[np.float32], components: NDArray[np.float32]
    ) -> None:
        """`idf` is (V,), `components` (D, V), columns in the order of `vocabulary`."""
        self._vocabulary = vocabulary
        self._idf = idf
        self._components = components
        digest = sha256(json.dumps(list(vocabulary)).encode())
        digest.update(idf.tobytes() + components.tobytes())
        self._fingerprint = f"lsa-{digest.hexdigest()[:16]}"

    @classmethod
    def fit(cls, texts: Sequence[str], dim: int, seed: int = 0) -> LsaEncoder:
        """Fit on the texts; the width is `dim`, or less where the texts hold less."""
        from sklearn.decomposition import TruncatedSVD

        counts: Counter[str] = Counter()
        for text in texts:
            counts.update({term for phrase in _phrases(text) for term in _terms(phrase)})
        counts = Counter({term: n for term, n in counts.items() if n > 1 or " " not in term})
        terms = sorted(counts)
        vocabulary = {term: column for column, term in enumerate(terms)}
        frequency = np.array([counts[term] for term in terms], dtype=np.float64)
        idf = (np.log((1 + len(texts)) / (1 + frequency)) + 1).astype(np.float32)
        width = min(dim, len(texts), len(terms))
        if width == 0:
            return cls({}, np.zeros(0, np.float32), np.zeros((1, 0), np.float32))
        encoder = cls(vocabulary, idf, np.zeros((1, len(terms)), np.float32))
        svd = TruncatedSVD(n_components=width, algorithm="randomized", n_iter=7, random_state=seed)
        svd.fit(encoder._weigh(texts))
        return cls(vocabulary, idf, np.ascontiguousarray(svd.components_, dtype=np.float32))

    @property
    def dim(self) -> int:
        """Width D of the vectors."""
        return int(self._components.shape[0])

    @property
    def fingerprint(self) -> str:
        """Hash of vocabulary and weights."""
        return self._fingerprint

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (N, D) of unit length.

        A text of which the space holds hardly anything gets a zero row, as one without any
        known word does: scaled up, what is left of it would be noise.
        """
        if not texts or not self._vocabulary:
            return np.zeros((len(texts), self.dim), np.float32)
        weights = self._weigh(texts)
        whole = np.sqrt(np.asarray(weights.multiply(weights).sum(axis=1), dtype=np.float32))  # (N, 1)
        vectors = np.asarray(weights @ self._components.T, dtype=np.float32)
        held = np.linalg.norm(vectors, axis=1, keepdims=True) >= _HELD * whole
        return unit_rows(np.where(held, vectors, 0).astype(np.float32))

    @property
    def size(self) -> int:
        """Bytes that `save` writes, about."""
        return int(self._idf.nbytes + self._components.nbytes + sum(map(len, self._vocabulary)))

    def save(self, folder: Path) -> None:
        """Write `encoder.json` and `encoder.safetensors`."""
        from safetensors.numpy import save_file

        arrays = {"idf": self._idf, "components": self._components}
        save_file(arrays, str(folder / "encoder.safetensors"))
        facts = {"kind": "lsa", "vocabulary": list(self._vocabulary), "fingerprint": self.fingerprint}
        (folder / "encoder.json").write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, facts: dict[str, Any]) -> LsaEncoder:
        """Read what `save` wrote."""
        from safetensors.numpy import load_file

        arrays = load_file(str(folder / "encoder.safetensors"))
        vocabulary = {term: column for column, term in enumerate(facts["vocabulary"])}
        return cls(vocabulary, arrays["idf"], arrays["components"])

    def _weigh(self, texts: Sequence[str]) -> csr_matrix:
        """Summed TF-IDF rows (N, V) of each text's phrases, those of unit length, term counts damped.

        So a category of one word counts as much as a title of ten.
        """
        from scipy.sparse import csr_matrix

        ends, columns, values = [0], [], []
        for text in texts:
            for phrase in _phrases(text):
                known = Counter(term for term in _terms(phrase) if term in self._vocabulary)
                row = [self._vocabulary[term] for term in known]
                weights = (1 + np.log(np.array(list(known.values()), dtype=np.float32))) * self._idf[row]
                columns += row
                values += (weights / max(float(np.linalg.norm(weights)), 1e-12)).tolist()
            ends.append(len(columns))
        parts = (np.array(values, dtype=np.float32), np.array(columns, dtype=np.int64), np.array(ends))
        matrix = csr_matrix(parts, shape=(len(texts), len(self._vocabulary)))
        matrix.sum_duplicates()
        return matrix


class SentenceEncoder:
    """A sentence-transformers model, by name or path."""

    def __init__(self, name: str) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise MissingExtraError("sentence-transformers text encoders", "encoders") from None
        self.name = name
        try:
            check_encoder(name)
            # No code of the repository, no pickles: whoever named the model vouches for numbers alone.
            self._model = SentenceTransformer(
                name, trust_remote_code=False, model_kwargs={"use_safetensors": True}
            )
        except ConfigError:
            raise
        except Exception as error:
            if not is_unreadable(error):
                raise
            raise ConfigError(
                f"trm.text_encoder = '{name}': not a readable sentence-transformers model ({first_line(error)}); "
                "give the path of a model folder, a model's name, or 'lsa'"
            ) from None
        self._model.eval()
        probe = self.encode(_PROBE)
        # Rounded, so that another machine's last bits don't make the same model look like another.
        self._fingerprint = f"st-{sha256(np.round(probe, 3).tobytes()).hexdigest()[:16]}"

    @property
    def dim(self) -> int:
        """Width D of the vectors."""
        return int(self.encode(_PROBE[:1]).shape[1])

    @property
    def fingerprint(self) -> str:
        """Hash of the vectors of a few fixed texts: the same model from another path is the same."""
        return self._fingerprint

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (N, D) of unit length; a blank text gets a zero row."""
        vectors = self._model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False)
        rows = np.array(vectors, dtype=np.float32)
        rows[[not text.strip() for text in texts]] = 0
        return unit_rows(rows)

    def save(self, folder: Path) -> None:
        """Write `encoder.json`: the model's name and fingerprint, not its weights."""
        facts = {"kind": "sentence-transformers", "name": self.name, "fingerprint": self.fingerprint}
        (folder / "encoder.json").write_text(json.dumps(facts), encoding="utf-8")


class CachedEncoder:
    """An encoder that never computes the same text twice.

    Vectors are kept in memory by text and, for large batches, in `folder` under the hash of
    the encoder and the texts.
    """

    def __init__(self, inner: LsaEncoder | SentenceEncoder, folder: Path | None = None) -> None:
        self.inner = inner
        self.folder = folder
        self._memory: dict[str, NDArray[np.float32]] = {}

    @property
    def dim(self) -> int:
        """Width D of the vectors."""
        return self.inner.dim

    @property
    def fingerprint(self) -> str:
        """That of the encoder inside."""
        return self.inner.fingerprint

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (N, D) of unit length; see the encoder inside."""
        if not texts:
            return np.zeros((0, self.dim), np.float32)
        found = {text: self._memory[text] for text in texts if text in self._memory}
        missing = list(dict.fromkeys(text for text in texts if text not in found))
        if missing:
            found.update(zip(missing, self._compute(missing), strict=True))
            if len(self._memory) + len(missing) > _MEMORY:
                self._memory.clear()
            self._memory.update((text, found[text]) for text in missing)
        return np.stack([found[text] for text in texts])

    @property
    def size(self) -> int:
        """Bytes that `save` writes, about: another's model is only named."""
        return self.inner.size if isinstance(self.inner, LsaEncoder) else 0

    def save(self, folder: Path) -> None:
        """Write the encoder inside; the cache is only a cache."""
        self.inner.save(folder)

    def _compute(self, texts: list[str]) -> NDArray[np.float32]:
        # Batches this large are catalogues and phrase banks, which a next run asks for again.
        if self.folder is None or len(texts) < 64 or isinstance(self.inner, LsaEncoder):
            return self.inner.encode(texts)
        from safetensors import SafetensorError
        from safetensors.numpy import load_file, save_file

        key = sha256("\x1f".join([self.fingerprint, *texts]).encode()).hexdigest()[:24]
        file = self.folder / f"{key}.safetensors"
        try:
            if file.exists():
                kept: NDArray[np.float32] = load_file(str(file))["vectors"]
                return kept
        except (SafetensorError, KeyError):
            file.unlink()  # half-written or foreign: compute it again
        vectors = self.inner.encode(texts)
        with whole_file(file) as part:
            save_file({"vectors": vectors}, str(part))
        return vectors


def unit_rows(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to length 1; rows of (almost) zero length become zero."""
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.where(norms > 1e-6, matrix / np.maximum(norms, 1e-6), 0).astype(np.float32)


def _phrases(text: str) -> list[str]:
    return text.casefold().split(SEPARATOR.strip())


def _terms(phrase: str) -> list[str]:
    """Words and word pairs of a lower-case phrase, without words like "the"."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    words = [word for word in _WORD.findall(phrase) if word not in ENGLISH_STOP_WORDS]
    return words + [f"{first} {second}" for first, second in pairwise(words)]
