"""Embeddings on disk: computed once, never trusted when damaged."""

import pytest
import torch

from semantic_field.teachers.embedding_cache import cached_embeddings

TEXTS = [f"text {i}" for i in range(120)]


@pytest.fixture()
def embed(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def count(texts: list[str]) -> torch.Tensor:
        count.calls += 1
        return torch.arange(2.0 * len(texts)).reshape(-1, 2)

    count.calls = 0
    return count


def test_second_start_reads_the_file(embed):
    first = cached_embeddings(TEXTS, "teacher", embed)
    second = cached_embeddings(TEXTS, "teacher", embed)
    assert embed.calls == 1
    torch.testing.assert_close(first, second)


def test_other_teacher_or_texts_are_computed(embed):
    cached_embeddings(TEXTS, "teacher", embed)
    cached_embeddings(TEXTS, "another", embed)
    cached_embeddings(TEXTS[::-1], "teacher", embed)
    assert embed.calls == 3


def test_damaged_file_is_replaced(embed, tmp_path):
    expected = cached_embeddings(TEXTS, "teacher", embed)
    (path,) = (tmp_path / "semantic_field").iterdir()
    path.write_bytes(path.read_bytes()[:50])
    torch.testing.assert_close(cached_embeddings(TEXTS, "teacher", embed), expected)
    assert embed.calls == 2
    cached_embeddings(TEXTS, "teacher", embed)
    assert embed.calls == 2


def test_unwritable_folder_only_costs_time(embed, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cached_embeddings(TEXTS, "teacher", embed).shape == (120, 2)


def test_few_texts_are_not_kept(embed, tmp_path):
    cached_embeddings(TEXTS[:5], "teacher", embed)
    assert not (tmp_path / "semantic_field").exists()
