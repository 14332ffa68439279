"""The engine on a small room with known answers: threads, snapshots, limits, errors."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from known_room import CHAIRS, room

from semantic_field.config import QueryConfig
from semantic_field.query.engine import MOST_TEXTS, QueryEngine
from semantic_field.teachers.label_text import LabelTextTeacher
from semantic_field.teachers.naming import spoken
from semantic_field.teachers.precomputed_texts import VocabularyTeacher


@pytest.fixture(scope="module")
def teacher() -> LabelTextTeacher:
    return LabelTextTeacher()


@pytest.fixture(scope="module")
def engine(teacher) -> QueryEngine:
    engine = QueryEngine(teacher)
    engine.set_points(*room(teacher))
    return engine


@pytest.mark.parametrize("text", ["chair", "somewhere to sit"])
def test_chairs_are_where_they_are(engine, text):
    result = engine.query(text)
    assert result.found and result.best_score > 0.8 and len(result.hits) == 2
    centres = np.array(sorted(hit.centre.tolist() for hit in result.hits))
    assert np.allclose(centres, CHAIRS, atol=0.03)
    assert all(hit.label == "chair" for hit in result.hits)
    assert all(np.allclose(hit.size, [0.45, 0.45, 0.9], atol=0.05) for hit in result.hits)
    assert "chair" in result.message and result.text == text
    relevant = result.relevancy >= 0.5
    assert set(result.points.label[relevant].tolist()) == {3}


def test_the_table_is_called_by_its_words(engine):
    (hit,) = engine.query("dining table").hits
    assert hit.label == "diningtable" and np.allclose(hit.centre, [2, 3, 0.72], atol=0.03)


@pytest.mark.parametrize("text", ["a place to sleep", "bed", "washing machine", "bicycle"])
def test_what_is_not_there_is_not_found(engine, text):
    result = engine.query(text)
    assert not result.found and result.hits == () and result.best_score < 0.5
    assert "not in the map" in result.message and len(result.relevancy) == len(result.points)
    assert (result.relevancy < 0.5).all()


def test_several_texts_equal_single_ones(engine):
    texts = ["chair", "a place to sleep", "floor"]
    for together, alone in zip(engine.query_all(texts), map(engine.query, texts), strict=True):
        assert [h.id for h in together.hits] == [h.id for h in alone.hits]
        assert np.allclose(together.relevancy, alone.relevancy, atol=1e-6)
    assert engine.query_all([]) == []


class Seer(LabelTextTeacher):
    """Takes every image for the thing that its first pixel's red is the number of."""

    SHOWN = ("chair", "guitar", "DiningTable")

    def recognise(self, color, texts):
        name = self.SHOWN[color[0, 0, 0]].lower()
        chance = torch.tensor([0.9 if spoken(text) == spoken(name) else 0.01 for text in texts])
        return chance / chance.sum()


def picture(shown):
    return np.full((5, 7, 3), Seer.SHOWN.index(shown), np.uint8)


def test_an_image_asks_for_what_it_is_taken_for(teacher):
    engine = QueryEngine(Seer())
    engine.set_points(*room(teacher))
    chairs = engine.query_image(picture("chair"))
    assert [hit.label for hit in chairs.hits] == ["chair", "chair"]
    (table,) = engine.query_image(picture("DiningTable")).hits
    assert table.label == "diningtable"
    guitar = engine.query_image(picture("guitar"))
    assert not guitar.found and "guitar" in guitar.message and guitar.best_score < 0.2
    assert not engine.query_image(picture("chair"), negatives=("chair",)).found


def test_what_is_no_image_or_cannot_be_seen_is_said(engine, teacher):
    seeing = QueryEngine(Seer())
    seeing.set_points(*room(teacher))
    whole = picture("chair")
    for bad in (whole[..., 0], whole[:0], np.dstack([whole, whole[..., :1]]), whole / 255.0):
        with pytest.raises(ValueError, match=r"RGB image \(H, W, 3\)"):
            seeing.query_image(bad)
    with pytest.raises(ValueError, match=r"sees images.*open_clip"):
        engine.query_image(whole)


def test_points_are_segmented_by_names(teacher):
    state, points = room(teacher)
    silent = np.zeros_like(points.latent[:1])
    latent = np.concatenate([points.latent[1:], silent])
    engine = QueryEngine(teacher)
    engine.set_points(state, replace(points, latent=latent))
    _, _, rows = engine.segment(["floor", "chair"])
    assert rows[-1] == -1 and (rows[:-1][points.label[1:] == 3] == 1).all()
    assert (rows[:-1][points.label[1:] == 9] == 0).all()
    with pytest.raises(ValueError, match="names to choose from"):
        engine.segment([])


def test_too_many_texts_at_once_are_refused(engine):
    with pytest.raises(ValueError, match=f"at most {MOST_TEXTS} texts"):
        engine.query_all(["chair"] * (MOST_TEXTS + 1))


def test_latents_that_are_no_numbers_answer_nothing(teacher):
    state, points = room(teacher)
    latent = points.latent.copy()
    latent[5] = np.nan
    latent[6, 3] = np.inf
    engine = QueryEngine(teacher)
    engine.set_points(state, replace(points, latent=latent))
    result = engine.query("chair")
    assert len(result.hits) == 2 and np.isfinite(result.relevancy).all()
    assert (result.relevancy[5:7] < 0.5).all()


def test_limits(engine):
    assert len(engine.query("chair", max_hits=1).hits) == 1
    assert not engine.query("chair", threshold=0.99).found
    assert not engine.query("somewhere to sit", negatives=("chair",)).found
    for bad in ({"threshold": 0.0}, {"threshold": 1.5}, {"max_hits": 0}):
        with pytest.raises(ValueError, match="threshold in"):
            engine.query("chair", **bad)
    with pytest.raises(ValueError, match="empty"):
        engine.query("  ")


def test_numbers_last_over_texts_and_snapshots(teacher):
    engine = QueryEngine(teacher)
    engine.set_points(*room(teacher))
    first = {hit.id: hit.centre for hit in engine.query("chair").hits}
    engine.set_points(*room(teacher, version=2, seed=5))
    again = engine.query("somewhere to sit").hits
    assert {hit.id for hit in again} == set(first) and len(first) == 2
    for hit in again:
        assert np.allclose(first[hit.id], hit.centre, atol=0.05)


def test_errors_name_the_remedy(teacher, tmp_path):
    engine = QueryEngine(teacher)
    assert not engine.has_map
    with pytest.raises(ValueError, match="mapping node running"):
        engine.query("chair")
    state, points = room(teacher)
    with pytest.raises(ValueError, match=r"teacher\.kind"):
        engine.set_points(replace(state, language=None), points)
    other = replace(state.language, fingerprint="vocabulary:1")
    with pytest.raises(ValueError, match=r"vocabulary:1.*query node"):
        engine.set_points(replace(state, language=other), points)


def test_an_empty_map_finds_nothing(teacher):
    state, points = room(teacher)
    engine = QueryEngine(teacher)
    engine.set_points(state, points.select(np.zeros(len(points), bool)))
    result = engine.query("chair")
    assert not result.found and result.best_score == 0.0 and result.relevancy.shape == (0,)


def test_a_map_without_labels_is_searched_by_language_alone(teacher):
    state, points = room(teacher)
    bare = replace(points, label=np.full(len(points), -1, np.int32))
    engine = QueryEngine(teacher)
    engine.set_points(replace(state, label_names={}, class_ids=()), bare)
    result = engine.query("somewhere to sit")
    assert len(result.hits) == 2 and result.hits[0].label == ""
    assert not engine.query("a place to sleep").found


def test_questions_while_maps_change(teacher):
    """Every answer belongs to one snapshot as a whole."""
    engine = QueryEngine(teacher)
    state, points = room(teacher)
    half = points.select(points.label != 7)
    engine.set_points(state, points)
    problems: list[str] = []

    def ask() -> None:
        for _ in range(15):
            result = engine.query("dining table")
            whole = len(result.points) == len(points)
            if whole != result.found or len(result.relevancy) != len(result.points):
                problems.append(result.message)
            if result.state.version % 2 != (1 if whole else 0):
                problems.append(f"version {result.state.version}")

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    version = 1
    while any(asker.is_alive() for asker in askers):
        version += 1
        snapshot = points if version % 2 else half
        engine.set_points(replace(state, version=version), snapshot)
    for asker in askers:
        asker.join()
    assert problems == [] and version > 3


def test_settings_can_change(teacher):
    engine = QueryEngine(teacher)
    engine.set_points(*room(teacher))
    engine.set_config(QueryConfig(max_hits=1))
    assert engine.config.max_hits == 1 and len(engine.query("chair").hits) == 1


def test_a_vocabulary_answers_names_it_knows(tmp_path):
    """Features in which everything resembles everything, as in CLIP's text space."""
    names = ["chair", "couch", "sofa", "diningtable", "floor", "bed", "lamp", "car", "dog", "cup"]
    rng = np.random.default_rng(0)
    features = rng.normal(size=(len(names), 64))
    features[2] = features[1] + 0.3 * rng.normal(size=64)  # sofa is nearly couch
    features += 3.0 * rng.normal(size=64)
    np.savez(tmp_path / "v.npz", **dict(zip(names, features)))
    teacher = VocabularyTeacher(str(tmp_path / "v.npz"))
    engine = QueryEngine(teacher)
    engine.set_points(*room(teacher, {3: "couch", 7: "diningtable", 9: "floor", 12: "bed"}))
    assert len(engine.query("sofa").hits) == 2
    assert not engine.query("lamp").found and not engine.query("bed").found
    with pytest.raises(ValueError, match="label_text"):
        engine.query("somewhere to sit")


@pytest.mark.parametrize("text", ["Kühlschrank", "холодильник"])
def test_another_language_is_said_instead_of_a_guess(engine, text):
    result = engine.query(text)
    assert not result.found and "asks for" not in result.message
    assert "label_text understands English" in result.message


def test_control_characters_do_not_come_back(engine):
    assert "'red \x07sofa'" not in engine.query("red \x07sofa").message
    with pytest.raises(ValueError, match="words in it"):
        engine.query("\x00\x1b ")
