"""Relevancy against decoded embeddings and hand-worked numbers; what is there and what is not."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from semantic_field.field.map_state import LanguageSpace
from semantic_field.kernels.precision import product_type
from semantic_field.mapping.language.basis import LanguageBasis
from semantic_field.query.interpretation import Interpretation, Interpreter, TextSet, membership
from semantic_field.query.latent_index import LatentIndex
from semantic_field.query.relevancy import ASKED
from semantic_field.teachers.label_text import LabelTextTeacher
from semantic_field.teachers.language import Calibration

USUAL = ("object", "things", "stuff", "texture")


@pytest.fixture(scope="module")
def teacher() -> LabelTextTeacher:
    return LabelTextTeacher()


@pytest.fixture(scope="module")
def interpreter(teacher) -> Interpreter:
    return Interpreter(teacher)


def random_space(seed: int, rank: int = 6, used: int = 4, dim: int = 11) -> LanguageSpace:
    generator = torch.Generator().manual_seed(seed)
    basis = torch.zeros(dim, rank)
    basis[:, :used] = torch.linalg.qr(torch.randn(dim, used, generator=generator))[0]
    return LanguageSpace(basis, 0.3 * torch.randn(dim, generator=generator), used, "test")


def calibration(dim: int, center: torch.Tensor | None = None) -> Calibration:
    center = torch.zeros(dim) if center is None else center
    return Calibration(center, distinct=0.6, same=0.8, floor=0.4, margin=0.1, sharpness=20.0)


GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize(
    "dtype, atol", [(torch.float32, 1e-5), (torch.bfloat16, 0.02), (torch.float16, 3e-3)]
)
@pytest.mark.parametrize("centred", [False, True])
def test_latent_cosines_equal_those_of_decoded_embeddings(centred, dtype, atol, device):
    space = random_space(0)
    generator = torch.Generator().manual_seed(1)
    center = torch.randn(11, generator=generator) if centred else torch.zeros(11)
    latent = torch.randn(70_000, 6, generator=generator)  # more than two chunks
    text = torch.nn.functional.normalize(torch.randn(3, 11, generator=generator), dim=1)
    decoded = latent.double() @ space.basis.T.double() + space.mean.double()
    apart = torch.nn.functional.normalize(decoded, dim=1) - center.double()
    expected = torch.nn.functional.normalize(apart, dim=1) @ text.T.double()
    index = LatentIndex(latent.numpy(), space, calibration(11, center), None, dtype, device)
    assert torch.allclose(index.cosines(text).double(), expected, atol=atol)


def test_latent_cosines_agree_with_the_map_s_own():
    space = random_space(2)
    latent = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float16)
    text = torch.nn.functional.normalize(torch.randn(4, 11), dim=1)
    index = LatentIndex(latent, space, calibration(11), dtype=torch.float32)
    assert torch.allclose(
        index.cosines(text), space.similarity(torch.from_numpy(latent), text), atol=1e-5
    )


def test_a_latent_that_decodes_to_nothing_has_no_similarity():
    space = replace(random_space(3), mean=torch.zeros(11))
    index = LatentIndex(np.zeros((1, 6), np.float32), space, calibration(11))
    assert not index.cosines(torch.eye(11)).any()


def plane_space() -> LanguageSpace:
    return LanguageSpace(torch.eye(2), torch.zeros(2), 2, "test")


def at(degrees: float) -> list[float]:
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


def test_score_by_hand():
    """Three points in a plane, one anchor of fit 0.9 at 30 degrees, one negative at 90."""
    meaning = Interpretation(
        "q",
        torch.tensor([at(0.0)]),
        torch.tensor([at(30.0)]),
        torch.tensor([0.9]),
        torch.zeros(0),
        0.9,
        "a",
    )
    question = TextSet(meaning, torch.tensor([at(90.0)]))
    points = np.array([at(30.0), at(0.0), at(80.0)], np.float32)
    index = LatentIndex(points, plane_space(), calibration(2), dtype=torch.float32)

    def sigmoid(x: float) -> float:
        return 1.0 / (1.0 + math.exp(-x))

    # 30: fit max(cos 30, 1 * .9) = .9; gap 0, negative cos 60 = .5
    first = min(sigmoid(20 * 0.1), sigmoid(10 * (0.9 - 0.5 - 0.05)))
    # 0: fit max(1, clip((cos 30 - .6) / .2) * .9) = 1; negative 0
    second = min(sigmoid(20 * (1.0 - 0.9 + 0.1)), sigmoid(10 * (1.0 - 0.0 - 0.05)))
    # 80: fit max(cos 80, clip((cos 50 - .6) / .2) * .9); negative cos 10 wins
    fit = max(math.cos(math.radians(80)), (math.cos(math.radians(50)) - 0.6) / 0.2 * 0.9)
    third = min(sigmoid(20 * (fit - 0.8)), sigmoid(10 * (fit - math.cos(math.radians(10)) - 0.05)))
    got = index.relevancy([question])[0].tolist()
    assert got == pytest.approx([first, second, third], abs=1e-5)


def test_chances_are_those_that_the_map_has_learnt():
    """Softmax(cos(latent, V'name) / temperature), from products of centred embeddings."""
    generator = torch.Generator().manual_seed(5)
    space = replace(random_space(4), mean=torch.zeros(11), temperature=0.1)
    center = 0.2 * torch.randn(11, generator=generator)
    names = torch.nn.functional.normalize(torch.randn(3, 11, generator=generator) + center, dim=1)
    latent = torch.randn(50, 6, generator=generator)
    latent[:, 4:] = 0.0
    classes = torch.nn.functional.normalize(names - center, dim=1)
    relative = replace(calibration(11, center), relative=True)
    index = LatentIndex(latent.numpy(), space, relative, classes, torch.float32, "cpu")
    inside = torch.nn.functional.normalize(names @ space.basis, dim=1)
    expected = (torch.nn.functional.normalize(latent, dim=1) @ inside.T / 0.1).softmax(1)
    none = torch.zeros(0, 11)
    asked = [
        TextSet(Interpretation("q", name[None], none, torch.zeros(0), fits, 1.0, "q"), none)
        for name, fits in zip(names, torch.eye(3), strict=True)
    ]
    odds = ASKED * expected / (1 + (ASKED - 1) * expected) / (1 + math.exp(-20.0 * 0.1))
    torch.testing.assert_close(index.relevancy(asked).T, odds, atol=3e-4, rtol=0)


def test_what_a_point_may_be_counts_as_far_as_it_is_likely():
    """Two names at 0 and 90 degrees; the text is the second, and the first a poor answer."""
    meaning = Interpretation(
        "q", torch.tensor([at(90.0)]), torch.zeros(0, 2), torch.zeros(0), torch.tensor([0.5, 1.0]),
        1.0, "second",
    )  # fmt: skip
    relative = replace(calibration(2), relative=True, margin=0.4)
    names = torch.tensor([at(0.0), at(90.0)])
    points = np.array([at(0.0), at(45.0), at(90.0)], np.float32)
    space = replace(plane_space(), temperature=0.5)
    index = LatentIndex(points, space, relative, names, torch.float32, "cpu")
    got = index.relevancy([TextSet(meaning, torch.zeros(0, 2))])[0].tolist()
    poor = 0.5 / (1.0 + math.exp(-20 * (0.4 - 0.5)))  # its fit, half as good as the best name's
    good = 1.0 / (1.0 + math.exp(-20 * 0.4))
    sure = 1.0 / (1.0 + math.exp(-1 / 0.5))
    likely = [p * poor / good + (1 - p) for p in (sure, 0.5, 1 - sure)]
    expected = [good * ASKED * p / (1 + (ASKED - 1) * p) for p in likely]
    assert got == pytest.approx(expected, abs=1e-3)
    assert got[0] < got[1] < got[2] < good


@pytest.mark.parametrize("known", [False, True])
def test_a_text_that_no_name_means_is_one_more_thing_that_a_point_may_be(known):
    """Names at 0 and 90 degrees, the text at 45: softmax over three for what is between them."""
    fits = torch.tensor([0.5, 0.9 if known else 0.3])
    meaning = Interpretation(
        "q", torch.tensor([at(45.0)]), torch.zeros(0, 2), torch.zeros(0), fits, 1.0, "q"
    )
    relative = replace(calibration(2), relative=True, margin=0.4)
    names = torch.tensor([at(0.0), at(90.0)])
    points = np.array([at(0.0), at(45.0)], np.float32)
    space = replace(plane_space(), temperature=0.05)
    index = LatentIndex(points, space, relative, names, torch.float32, "cpu")
    got = index.relevancy([TextSet(meaning, torch.zeros(0, 2))])[0].tolist()
    side, own = math.exp(math.cos(math.radians(45)) / 0.05), math.exp(1 / 0.05)
    itself = own / (own + 2 * side)
    alone = ASKED * itself / (1 + (ASKED - 1) * itself)
    if known:  # a name means the same: it answers
        assert got[1] < alone - 0.02
    else:
        assert got == pytest.approx([got[0], alone], abs=1e-3) and got[0] < 0.5 < alone


def test_several_questions_at_once_equal_one_by_one(teacher, interpreter):
    names = ["chair", "sofa", "wall"]
    basis = LanguageBasis(teacher, 8)
    index = LatentIndex(basis.latents_of(names).numpy(), basis.space(), teacher.calibration)
    questions = [interpreter.question(t, (), USUAL, names) for t in ("couch", "a place to sleep")]
    questions += [interpreter.question("couch", other, USUAL, names) for other in (("sofa",), ())]
    together = index.relevancy(questions)
    for row, question in zip(together, questions, strict=True):
        assert torch.allclose(row, index.relevancy([question])[0], atol=1e-6)
    assert (together[2] < together[0] - 0.1).any()


def test_membership_is_a_ramp():
    limits = calibration(2)
    cosine = torch.tensor([0.2, 0.6, 0.7, 0.8, 1.0])
    assert membership(cosine, limits).tolist() == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])


KITCHEN = ("background", "chair", "diningtable", "tvmonitor")
HOUSE = ("bed", "chair", "sofa", "refrigerator", "trash bin", "coffee table", "rug", "wall")


@pytest.mark.parametrize(
    ("labels", "text", "expected"),
    [
        (KITCHEN, "chair", {"chair"}),
        (KITCHEN, "somewhere to sit", {"chair"}),
        (KITCHEN, "dining table", {"diningtable"}),
        (KITCHEN, "a place to sleep", set()),
        (KITCHEN, "bicycle", set()),
        (KITCHEN, "washing machine", set()),
        (HOUSE, "couch", {"sofa"}),
        (HOUSE, "somewhere to sit", {"chair", "sofa"}),
        (HOUSE, "a place to sleep", {"bed"}),
        (HOUSE, "keep food cold", {"refrigerator"}),
        (HOUSE, "throw away rubbish", {"trash bin"}),
        (HOUSE, "dishwasher", set()),
        (HOUSE, "asdfgh", set()),
        (("chair",), "chair", {"chair"}),
        (("chair",), "table", set()),
    ],
)
@pytest.mark.parametrize("by_class", [True, False])
def test_what_is_there_is_found_and_nothing_else(
    teacher, interpreter, by_class, labels, text, expected
):
    basis = LanguageBasis(teacher, 16)
    latent = basis.latents_of(list(labels))
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    index = LatentIndex(
        (latent + 0.05 * noise).numpy(),
        basis.space(),
        teacher.calibration,
        interpreter.embed_classes(list(labels)) if by_class else None,
    )
    score = index.relevancy([interpreter.question(text, (), USUAL, list(labels))])[0]
    assert {name for name, s in zip(labels, score.tolist()) if s >= 0.5} == expected


def test_a_negative_takes_its_own_out(teacher, interpreter):
    labels = ["chair", "sofa"]
    basis = LanguageBasis(teacher, 8)
    latent = basis.latents_of(labels).numpy()
    index = LatentIndex(latent, basis.space(), teacher.calibration)
    asked = interpreter.question("somewhere to sit", ("sofa",), USUAL, labels)
    chair, sofa = index.relevancy([asked])[0].tolist()
    assert chair >= 0.5 > sofa


def test_the_type_of_products_is_measured_once():
    assert product_type() in (torch.float32, torch.bfloat16)
    assert product_type() is product_type()
