"""The language teachers: real embeddings, names as data sets spell them, files with faults."""

import json
import threading

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from semantic_field.config import TeacherConfig
from semantic_field.teachers import make_language_teacher
from semantic_field.teachers.household import HOUSEHOLD, USEFUL
from semantic_field.teachers.label_text import LabelTextTeacher
from semantic_field.teachers.language import CELL, cells_of
from semantic_field.teachers.minilm import MAX_TOKENS, SentenceEncoder, model_folder
from semantic_field.teachers.naming import spoken
from semantic_field.teachers.precomputed_texts import VocabularyTeacher


@pytest.fixture(scope="module")
def teacher() -> LabelTextTeacher:
    return LabelTextTeacher()


def test_encoder_equals_transformers_own_bert():
    """The encoder against the library that the weights were made with."""
    from tokenizers import Tokenizer
    from transformers.models.bert.modeling_bert import BertModel

    folder = model_folder()
    encoder = SentenceEncoder(folder)
    texts = ["couch", "Somewhere to sit, please!", "keep food cold " * 100, "ø"]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.no_padding()
    bert = BertModel.from_pretrained(folder, local_files_only=True).eval()
    for text in texts:  # one by one, so that padding cannot hide an error in the mask
        ids = torch.tensor([tokenizer.encode(text).ids])
        with torch.no_grad():
            hidden = bert(ids).last_hidden_state[0].mean(0)
        expected = hidden / hidden.norm()
        assert torch.allclose(encoder.encode(texts)[texts.index(text)], expected, atol=1e-5)


def test_embeddings_are_unit_vectors_and_cached(teacher):
    first = teacher.embed_text(["couch", "sofa", "couch"])
    assert first.shape == (3, 384) and torch.allclose(first.norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.equal(first[0], first[2])
    assert float(first[0] @ first[1]) == pytest.approx(0.86, abs=0.01)
    assert teacher.embed_text([]).shape == (0, 384)


def test_compound_names_mean_what_their_words_mean(teacher):
    compound, words = teacher.embed_text(["diningtable", "dining table"])
    assert torch.equal(compound, words)


def test_empty_text_is_refused(teacher):
    with pytest.raises(ValueError, match="texts with words"):
        teacher.embed_text(["chair", "  "])


def test_embedding_from_several_threads(teacher):
    texts = [f"thing number {i}" for i in range(30)]
    expected = LabelTextTeacher().embed_text(texts)
    got: list[torch.Tensor] = []
    workers = [
        threading.Thread(target=lambda: got.append(teacher.embed_text(texts))) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(got) == 4 and all(torch.allclose(g, expected, atol=1e-6) for g in got)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("diningtable", "dining table"),
        ("tvmonitor", "tv monitor"),
        ("pottedplant", "potted plant"),
        ("TVCabinet", "tv cabinet"),
        ("kitchen_cabinet_02", "kitchen cabinet"),
        ("night-stand", "night stand"),
        ("door;double door", "door"),
        ("wardrobe", "wardrobe"),
        ("dumbbell", "dumbbell"),
        ("loveseat", "loveseat"),
        ("carpet", "carpet"),
        ("Somewhere to sit", "somewhere to sit"),
    ],
)
def test_spoken(name, words):
    assert spoken(name) == words
    assert spoken(words) == words


def test_things_are_distinct_and_accept_what_exists():
    first = [thing.names[0] for thing in HOUSEHOLD]
    assert len(set(first)) == len(first)
    for thing in USEFUL:
        assert all(name and name == name.lower() for name in thing.names)
        assert set(thing.accepts) <= set(first), thing


def test_label_image_embedding(teacher):
    labels = np.full((2 * CELL, 3 * CELL), -1, np.int32)
    labels[:, CELL : 2 * CELL] = 5
    labels[:, 2 * CELL :] = 9  # an id without a name
    image = np.zeros((*labels.shape, 3), np.uint8)
    embedded = teacher.embed_image(image, labels, {5: "chair"})
    assert embedded.shape == (1, 2, 3, 384)
    assert torch.equal(embedded[0, 1, 1], teacher.embed_text(["chair"])[0])
    assert not embedded[0, :, 0].any() and not embedded[0, :, 2].any()
    with pytest.raises(ValueError, match=r"labels/image.*teacher\.kind"):
        teacher.embed_image(image, None, {5: "chair"})


def test_pixels_fall_into_cells_that_tile_the_image():
    """7 pixels in 3 cells: borders at 2 1/3 and 4 2/3, a pixel belongs where its middle lies."""
    pixels = np.stack([np.arange(7), np.arange(7)], axis=1)
    assert cells_of(pixels, (7, 14), (3, 7)).T.tolist() == [
        [0, 0, 1, 1, 1, 2, 2],
        [0, 0, 1, 1, 2, 2, 3],
    ]


def test_missing_weights_name_the_option(tmp_path):
    with pytest.raises(ValueError, match=r"model\.safetensors.*teacher\.path"):
        make_language_teacher(TeacherConfig(path=str(tmp_path)))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_damaged_weights_name_the_option(tmp_path, name):
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / file).symlink_to(model_folder() / file)
    (tmp_path / name).unlink()
    (tmp_path / name).write_text("[]")
    with pytest.raises(ValueError, match=r"can be read in .*teacher\.path"):
        make_language_teacher(TeacherConfig(path=str(tmp_path)))


def test_no_teacher():
    assert make_language_teacher(TeacherConfig(kind="none")) is None


# --- vocabulary --------------------------------------------------------------------------------

FEATURES = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0], [0.0, 1.0, 0.0]])
NAMES = ["Sofa_Bed", "lamp", "sofa bed"]


def write_folder(folder, features=FEATURES, names=NAMES):
    np.save(folder / "features.npy", features.astype(np.float16))
    (folder / "entries.json").write_text(json.dumps([{"name": name} for name in names]))
    return folder


def test_vocabulary_looks_up_and_merges_equal_names(tmp_path):
    teacher = VocabularyTeacher(str(write_folder(tmp_path)))
    lamp, bed = teacher.embed_text(["Lamp", "sofa bed"])
    assert torch.allclose(lamp, torch.tensor([0.0, 0.0, 1.0]))
    mean = np.array([0.6, 1.8, 0.0]) / np.hypot(0.6, 1.8)  # of (.6, .8, 0) and (0, 1, 0)
    assert np.allclose(bed.numpy(), mean, atol=1e-3)
    assert teacher.dim == 3 and len(teacher.things) == 2


def test_vocabulary_synonyms_and_unknown_names(tmp_path):
    (tmp_path / "my_synonyms.json").write_text(json.dumps({"lamp": ["lamp", "light"]}))
    teacher = VocabularyTeacher(str(write_folder(tmp_path)))
    assert torch.equal(*teacher.embed_text(["light", "lamps"]))
    assert teacher.knows("lights") and not teacher.knows("somewhere to sit")
    with pytest.raises(ValueError, match=r"'lampe'.*lamp.*label_text"):
        teacher.embed_text(["lampe"])


def test_vocabulary_formats_agree(tmp_path):
    table = {"lamp": FEATURES[1].astype(np.float32), "sofa": FEATURES[0].astype(np.float32)}
    np.savez(tmp_path / "a.npz", **table)
    save_file(table, tmp_path / "a.safetensors")
    teachers = [VocabularyTeacher(str(tmp_path / f"a.{kind}")) for kind in ("npz", "safetensors")]
    a, b = (teacher.embed_text(["sofa", "lamp"]) for teacher in teachers)
    assert torch.allclose(a, b) and torch.allclose(a[0], torch.tensor([0.6, 0.8, 0.0]))


def test_fingerprint_follows_the_features(tmp_path):
    same = [VocabularyTeacher(str(write_folder(tmp_path))).fingerprint for _ in range(2)]
    other = VocabularyTeacher(str(write_folder(tmp_path, FEATURES[[1, 0, 2]]))).fingerprint
    assert same[0] == same[1] != other


@pytest.mark.parametrize("fault", ["missing", "length", "zero", "garbage", "pickle", "suffix"])
def test_faulty_vocabulary_names_the_remedy(tmp_path, fault):
    folder = write_folder(tmp_path)
    path = folder
    if fault == "missing":
        path = folder / "nowhere"
    elif fault == "length":
        write_folder(folder, names=NAMES[:2])
    elif fault == "zero":
        write_folder(folder, np.zeros((3, 3)))
    elif fault == "garbage":
        (folder / "entries.json").write_text("{")
    elif fault == "pickle":
        np.save(folder / "features.npy", np.array([{}], dtype=object), allow_pickle=True)
    else:
        path = folder / "a.csv"
        path.write_text("lamp")
    with pytest.raises(ValueError, match=r"teacher\.path"):
        VocabularyTeacher(str(path))


def test_control_characters_are_spaces():
    teacher = LabelTextTeacher()
    plain, strange = teacher.embed_text(["red chair", "\x00red\x07chair\u200b"])
    assert torch.equal(plain, strange)
    assert not teacher.knows("\x00\x07 \u200b")
    with pytest.raises(ValueError, match="words in them"):
        teacher.embed_text(["\x00"])
