"""Embeddings on disk: computed once, never trusted when damaged."""

import pytest
import torch

from semantic_field.teachers.embedding_cache import BLOCK, TextCache

TEXTS = [f"text {i}" for i in range(120)]


class Encoder:
    """Embeds a text as its number and its length; counts texts, and may break down."""

    def __init__(self, last: int = 10_000) -> None:
        self.texts: list[str] = []
        self.last = last

    def __call__(self, texts: list[str]) -> torch.Tensor:
        if len(self.texts) + len(texts) > self.last:
            raise KeyboardInterrupt
        self.texts += texts
        return torch.tensor([[float(text.split()[-1]), len(text) / 3] for text in texts])


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "semantic_field"


def embedded(texts: list[str], teacher: str = "teacher", last: int = 10_000):
    """What a new start says of the texts, and how many it had to embed."""
    encoder = Encoder(last)
    rows = TextCache(encoder, teacher).embed(texts)
    return rows, len(encoder.texts)


def test_second_start_reads_the_files():
    first, computed = embedded(TEXTS)
    second, again = embedded(TEXTS[::-1])
    assert (computed, again) == (120, 0)
    assert torch.equal(first, Encoder()(TEXTS)) and torch.equal(second.flip(0), first)


def test_other_teachers_and_texts_are_computed():
    embedded(TEXTS)
    assert embedded(TEXTS, "another")[1] == 120
    assert embedded([*TEXTS, "text 500"])[1] == 1


def test_an_interrupted_list_goes_on():
    with pytest.raises(KeyboardInterrupt):
        embedded(TEXTS, last=100)
    rows, computed = embedded(TEXTS)
    assert computed == 120 - 100 // BLOCK * BLOCK < 120
    assert torch.equal(rows, Encoder()(TEXTS))


def test_damaged_files_are_computed_again(folder):
    expected, _ = embedded(TEXTS)
    path, *others = sorted(folder.glob("*/*"))
    path.write_bytes(path.read_bytes()[:50])
    rows, computed = embedded(TEXTS)
    assert torch.equal(rows, expected) and 0 < computed <= BLOCK and others
    assert embedded(TEXTS)[1] == 0


def test_unwritable_folder_only_costs_time(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert embedded(TEXTS)[0].shape == (120, 2)


def test_a_vocabulary_is_kept_and_a_question_is_not(folder):
    embedded(TEXTS[:1])
    assert not folder.exists()
    embedded(TEXTS[:8])
    assert embedded(TEXTS[:8])[1] == 0
