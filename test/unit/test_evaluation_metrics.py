"""Instances, boxes, calibration, images, surfaces and labelled points, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from semantic_field.evaluation.scores.box_fit import aligned_box, box_iou, inside_box
from semantic_field.evaluation.scores.calibration import Reliability, calibration
from semantic_field.evaluation.scores.image_quality import color_score, depth_score, psnr, ssim_map
from semantic_field.evaluation.scores.instances import average_precision, instance_score, mean_score
from semantic_field.evaluation.scores.pixel_confidence import PixelConfidence
from semantic_field.evaluation.scores.point_labels import (
    POINT_PROTOCOLS,
    PointProtocol,
    neighbour_votes,
    point_scores,
)
from semantic_field.evaluation.scores.surfaces import LabelledCloud, fuse, majority, surface_score
from semantic_field.field.views.rendering import RenderedView
from semantic_field.frames import Frame
from semantic_field.geometry import Camera, make_transform

# images


def test_psnr_by_hand() -> None:
    a, b = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
    b[0, 0] = 10  # MSE 100 * 3 / 12 = 25
    assert psnr(a, b) == pytest.approx(10 * math.log10(255**2 / 25))
    mask = np.zeros((2, 2), bool)
    mask[0, 0] = True
    assert psnr(a, b, mask) == pytest.approx(10 * math.log10(255**2 / 100))
    assert psnr(a, a) == math.inf
    assert math.isnan(psnr(a, b, np.zeros((2, 2), bool)))


def test_ssim_against_its_formula() -> None:
    random = np.random.default_rng(0)
    a = random.integers(0, 255, (15, 17, 3), dtype=np.uint8)
    b = np.clip(a.astype(int) + random.integers(-40, 40, a.shape), 0, 255).astype(np.uint8)
    x = np.arange(-5, 6)
    line = np.exp(-(x**2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    row, column, values = 7, 9, []
    for channel in range(3):
        p, q = (
            image[row - 5 : row + 6, column - 5 : column + 6, channel].astype(float)
            for image in (a, b)
        )
        mp, mq = (window * p).sum(), (window * q).sum()
        vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
        cov = (window * (p - mp) * (q - mq)).sum()
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        values.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    assert ssim_map(a, b)[row, column] == pytest.approx(np.mean(values), abs=1e-6)


def test_color_score_over_valid_pixels_only() -> None:
    truth = np.full((24, 24, 3), 100, np.uint8)
    rendered = truth.copy()
    rendered[:, 12:] = 140
    valid = np.zeros((24, 24), bool)
    valid[:, :6] = True
    score = color_score(truth, rendered, valid)
    assert score.psnr_valid == math.inf and score.psnr < 20
    assert score.ssim_valid == pytest.approx(1.0) and score.ssim < 0.99
    with pytest.raises(ValueError, match="at least 11"):
        ssim_map(truth[:8], rendered[:8])


def test_depth_errors_by_hand() -> None:
    truth = np.array([[1.0, 2.0, 0.0, 3.0, 4.0]], np.float32)
    rendered = np.array([[1.01, 2.2, 5.0, 0.0, 4.03]], np.float32)
    score = depth_score(truth, rendered)
    assert score.l1 == pytest.approx((0.01 + 0.2 + 0.03) / 3, abs=1e-6)
    assert score.median == pytest.approx(0.03, abs=1e-6)
    assert score.within_5cm == pytest.approx(2 / 4)
    assert (score.covered, score.pixels) == (pytest.approx(3 / 4), 4)
    assert (score.early_5cm, score.late_5cm) == (0.0, 1 / 4)
    early = depth_score(truth, np.array([[0.9, 2.0, 0.1, 2.0, 0.0]], np.float32))
    assert (early.early_5cm, early.late_5cm, early.within_5cm) == (2 / 4, 0.0, 1 / 4)


def test_confidence_of_pixels_by_hand() -> None:
    # Labels: .95 right, .95 wrong, .25 right, nothing shown with 0; the last one has no true class.
    truth = np.array([[0, 0, 1, 1, -1]], np.int32)
    label = np.array([[0, 1, 1, -1, 0]], np.int32)
    confidence = np.array([[0.95, 0.95, 0.25, 0.0, 0.5]], np.float32)
    depth = np.array([[1.0, 1.0, 2.0, 0.0, 3.0]], np.float32)
    view = RenderedView(
        np.zeros((1, 5, 3), np.uint8), depth, np.zeros((1, 5, 3), np.float32), label, confidence
    )
    pixels = PixelConfidence()
    pixels.add_labels(truth, label, view)
    # Depths: right, 10 cm off, right, nothing where 4 cm is true, and no reading.
    pixels.add_depths(np.array([[1.02, 1.1, 2.0, 0.04, 0.0]], np.float32), view)
    found = pixels.result()
    # In the bins: |.95 - 1/2| twice, |.25 - 1|, |0 - 0|
    for name in ("label", "depth"):
        assert found[f"{name}_ece"] == pytest.approx((2 * 0.45 + 0.75 + 0) / 4, abs=1e-6)
        counts = {item["low"]: item["count"] for item in found[f"{name}_bins"] if item["count"]}
        assert counts == {0.0: 1, 0.2: 1, 0.9: 2}
    assert math.isnan(PixelConfidence().result()["label_ece"])


def test_reliability_over_several_images_is_that_of_all() -> None:
    random = np.random.default_rng(0)
    scores = random.random(500)
    right = random.random(500) < scores**2
    whole = calibration(scores, right)
    parts = Reliability()
    for piece in range(0, 500, 37):
        parts.add(scores[piece : piece + 37], right[piece : piece + 37])
    assert parts.ece() == pytest.approx(whole.ece) and whole.ece > 0.1
    by_hand = 0.0
    for low in np.arange(10) / 10:
        mine = (scores >= low) & (scores < low + 0.1)
        by_hand += abs(scores[mine].sum() - right[mine].sum()) / 500
    assert whole.ece == pytest.approx(by_hand)
    assert [b.count for b in parts.bins()] == [b.count for b in whole.bins]


# instances


def test_average_precision_by_hand() -> None:
    # Hits at places 1 and 3 of three predictions, four true masks: precision 1, 1/2, 2/3; the
    # envelope is 1, 2/3, 2/3; recall grows by 1/4 twice.
    assert average_precision(np.array([True, False, True]), 4) == pytest.approx((1 + 2 / 3) / 4)
    assert average_precision(np.zeros(0, bool), 2) == 0.0


def test_instances_of_one_image() -> None:
    truth = np.full((4, 10), -1)
    truth[:2, :5], truth[2:, :5], truth[:, 5:] = 0, 1, 2  # 10, 10 and 20 pixels
    guess = np.full_like(truth, -1)
    guess[:2, :5] = 7  # exactly object 0
    guess[2:, :3] = 8  # 6 of 10 pixels of object 1: IoU .6
    guess[:, 5:8] = 9  # 12 of 20 pixels of object 2: IoU .6
    guess[:, 9] = 5  # a second piece of object 2: a false positive, seen by the coco rule only
    confidence = np.zeros(truth.shape)
    confidence[guess == 5], confidence[guess == 7] = 0.9, 0.8
    confidence[guess == 8], confidence[guess == 9] = 0.7, 0.6
    matched = instance_score(truth, guess, confidence, "dm_nerf")
    assert matched.ap50 == pytest.approx(1.0)
    assert matched.ap75 == pytest.approx(1 / 3)
    # thresholds .50 and .55 (strictly above .6 fails at .60): three, then one
    assert matched.ap == pytest.approx((2 * 1.0 + 8 / 3) / 10)
    # coco: places no, yes, yes, yes: precision 0, 1/2, 2/3, 3/4; envelope 3/4 throughout
    assert instance_score(truth, guess, confidence, "coco").ap50 == pytest.approx(0.75)
    assert (matched.true_masks, matched.predicted_masks) == (3, 4)


def released_cost(true_mask: np.ndarray, mask: np.ndarray) -> float:
    """DM-NeRF's matching cost of two masks of one image, as its description has it."""
    t, p = true_mask.astype(float), mask.astype(float)
    cross_entropy = -t * np.log(p + 1e-8) - (1 - t) * np.log(1 - p + 1e-8)
    common, either = (t * p).sum(), np.maximum(t, p).sum()
    return float(cross_entropy.mean() + 1 - common / (either + 1e-6))


def test_instances_against_every_assignment() -> None:
    from itertools import permutations

    random = np.random.default_rng(2)
    for _ in range(8):
        blocks = random.integers(-1, 3, (2, 3, 3))
        truth, guess = (np.kron(block, np.ones((4, 4), int)) for block in blocks)
        guess = np.where(random.random(guess.shape) < 0.2, -1, guess)
        confidence = random.random(guess.shape)
        true_ids = [i for i in range(3) if (truth == i).any()]
        if not true_ids:
            continue
        masks = [guess == i for i in range(3) if (guess == i).any()]
        empty = np.zeros(guess.shape, bool)
        choices = masks + [empty] * len(true_ids)
        best = min(
            permutations(range(len(choices)), len(true_ids)),
            key=lambda order: sum(
                released_cost(truth == t, choices[m]) for t, m in zip(true_ids, order)
            ),
        )
        entries = []
        for t, m in zip(true_ids, best):
            mask = choices[m]
            iou = ((truth == t) & mask).sum() / ((truth == t) | mask).sum()
            entries.append((np.median(confidence[mask]) if mask.any() else 0.0, iou))
        entries.sort(key=lambda entry: -entry[0])
        hits = np.array([iou > 0.5 for _, iou in entries])
        expected = average_precision(hits, len(true_ids))
        assert instance_score(truth, guess, confidence).ap50 == pytest.approx(expected)


def test_images_without_objects_do_not_count() -> None:
    none = np.full((3, 3), -1)
    some = np.zeros((3, 3), int)
    ones = np.ones((3, 3))
    images = [instance_score(none, some, ones), instance_score(some, some, ones)]
    assert math.isnan(images[0].ap50)
    assert mean_score(images).ap50 == 1.0


# boxes


def turned(yaw: float, centre=(0.0, 0.0, 0.0)) -> np.ndarray:
    c, s = math.cos(yaw), math.sin(yaw)
    return make_transform([[c, -s, 0], [s, c, 0], [0, 0, 1]], centre)


def test_box_iou_by_hand() -> None:
    one = np.ones(3)
    assert box_iou(turned(0), one, turned(0), one) == pytest.approx(1.0)
    assert box_iou(turned(0), one, turned(0, (0.5, 0, 0)), one) == pytest.approx(0.5 / 1.5)
    assert box_iou(turned(0), one, turned(0, (0, 0, 0.75)), one) == pytest.approx(0.25 / 1.75)
    # A unit square and itself turned by 45 degrees meet in an octagon of area 2 sqrt(2) - 2.
    octagon = 2 * math.sqrt(2) - 2
    expected = octagon / (2 - octagon)
    assert box_iou(turned(0), one, turned(math.pi / 4), one) == pytest.approx(expected)
    assert box_iou(turned(0), one, turned(0.3, (3, 0, 0)), one) == 0.0
    with pytest.raises(ValueError, match="upright"):
        box_iou(make_transform([[1, 0, 0], [0, 0, -1], [0, 1, 0]], [0, 0, 0]), one, turned(0), one)


def test_box_iou_against_counting_points() -> None:
    random = np.random.default_rng(5)
    points = random.uniform(-1.5, 1.5, (400_000, 3))
    for _ in range(5):
        boxes = []
        for _ in range(2):
            centre, size = random.uniform(-0.3, 0.3, 3), random.uniform(0.6, 1.4, 3)
            boxes.append((turned(random.uniform(0, 3), centre), size))
        inside = []
        for T, size in boxes:
            local = (points - T[:3, 3]) @ T[:3, :3]
            inside.append((np.abs(local) <= size / 2).all(axis=1))
        counted = (inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum()
        assert box_iou(*boxes[0], *boxes[1]) == pytest.approx(counted, abs=0.015)


def test_localisation_is_inside_the_box() -> None:
    T, size = turned(math.pi / 4, (1, 0, 0)), np.array([2.0, 0.2, 1.0])
    assert inside_box(np.array([1.5, 0.5, 0.0]), T, size)
    assert not inside_box(np.array([1.5, -0.5, 0.0]), T, size)
    T, size = aligned_box(np.array([0, 0, 0]), np.array([1, 2, 3]))
    assert inside_box(np.array([1.0, 2.0, 3.0]), T, size)


# found and its score


def test_calibration_by_hand() -> None:
    scores = np.array([0.95, 0.85, 0.82, 0.15, 0.1])
    there = np.array([True, True, False, False, True])
    result = calibration(scores, there)
    # bins .9: |.95 - 1|; .8: 2 x |.835 - .5|; .1: 2 x |.125 - .5|
    assert result.ece == pytest.approx((0.05 + 2 * 0.335 + 2 * 0.375) / 5)
    assert result.brier == pytest.approx((0.05**2 + 0.15**2 + 0.82**2 + 0.15**2 + 0.9**2) / 5)
    # found in order: right, right, wrong, wrong, right
    assert result.average_precision == pytest.approx((1 + 1 + 3 / 5) / 3)
    half = next(point for point in result.curve if point.threshold == 0.5)
    assert (half.precision, half.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    with pytest.raises(ValueError, match=r"in 0\.\.1"):
        calibration(np.array([1.2]), np.array([True]))


def test_calibration_against_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score, brier_score_loss

    random = np.random.default_rng(3)
    scores, there = np.round(random.random(60), 1), random.random(60) < 0.4
    result = calibration(scores, there)
    assert result.average_precision == pytest.approx(average_precision_score(there, scores))
    assert result.brier == pytest.approx(brier_score_loss(there, scores))


# surfaces and labelled points


def test_surface_distances_by_hand() -> None:
    truth = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], float)
    mapped = np.array([[0, 0.02, 0], [1, 0.1, 0]], float)
    score = surface_score(mapped, truth)
    assert score.accuracy_m == pytest.approx(0.06)
    far = math.hypot(1, 0.1)
    assert score.completeness_m == pytest.approx((0.02 + 0.1 + far) / 3)
    assert score.chamfer_m == pytest.approx((0.06 + (0.12 + far) / 3) / 2)
    assert score.accuracy_ratio == 0.5 and score.completeness_ratio == pytest.approx(1 / 3)
    assert score.f_score == pytest.approx(2 * 0.5 / 3 / (0.5 + 1 / 3))
    assert math.isnan(surface_score(mapped[:0], truth).accuracy_m)


def test_majority_takes_the_smallest_of_equal_votes() -> None:
    index = np.array([0, 0, 0, 1, 1, 2])
    votes = np.array([5, 3, 5, 9, 4, -1])
    assert majority(index, votes, 4).tolist() == [5, 4, -1, -1]


def test_fused_cloud_lies_where_the_sensor_saw_it() -> None:
    camera = Camera.from_field_of_view(32, 24, 1.0)
    depth = np.full((24, 32), 2.0, np.float32)
    depth[:, 16:] = 0
    labels = np.full((24, 32), 4, np.int32)
    frame = Frame(0, np.zeros((24, 32, 3), np.uint8), depth, camera, turned(0, (0, 0, 1)), labels)
    cloud = fuse([frame, frame], voxel_m=0.05, pixel_stride=1)
    assert np.allclose(cloud.xyz[:, 2], 3.0) and (cloud.label == 4).all()
    assert cloud.xyz[:, 0].max() < 0.05  # the half without readings is not there


def test_concept_graphs_protocol_by_hand() -> None:
    names = {1: "wall", 2: "chair", 3: "table"}
    truth = LabelledCloud(
        np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], np.float32), np.array([1, 2, 2], np.int32)
    )
    predicted = LabelledCloud(
        np.array([[0.1, 0, 0], [0.9, 0, 0], [1.9, 0, 0], [2.1, 0, 0]], np.float32),
        np.array([1, 2, 1, 3], np.int32),
    )
    scores = point_scores(predicted, truth, names, POINT_PROTOCOLS["concept_graphs"])
    # each predicted point asks: wall-wall, chair-chair, chair-wall, chair-table
    assert scores.miou == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert scores.fw_iou == pytest.approx(0.25 / 2 + 0.75 / 3)
    without_wall = point_scores(predicted, truth, names, POINT_PROTOCOLS["concept_graphs_4"])
    assert without_wall.miou == pytest.approx(1 / 3) and without_wall.pixels == 3


def test_rayfronts_protocols_by_hand() -> None:
    names = {1: "wall", 2: "chair"}
    truth = LabelledCloud(
        np.array([[0.5, 0, 0], [1.5, 0, 0], [2.5, 0, 0]], np.float32), np.array([1, 2, 2], np.int32)
    )
    predicted = LabelledCloud(
        np.array([[0.2, 0.1, 0], [1.2, 0.1, 0], [1.3, 0, 0], [1.4, 0, 0]], np.float32),
        np.array([1, 2, 1, 2], np.int32),
    )
    same = PointProtocol("same", "truth", k=0, voxel_m=1.0)
    # voxel 0 right, voxel 1 by vote chair, voxel 2 has no prediction: a miss
    assert point_scores(predicted, truth, names, same).miou == pytest.approx((1 + 1 / 2) / 2)
    nearest = PointProtocol("nearest", "truth", k=1, voxel_m=1.0)
    assert point_scores(predicted, truth, names, nearest).miou == pytest.approx(1.0)
    with pytest.raises(ValueError, match="voxel_m > 0"):
        PointProtocol("bad", "truth", k=0)


def test_neighbour_votes_against_all_distances() -> None:
    random = np.random.default_rng(0)
    points, cloud = random.random((30, 3)), random.random((50, 3)).astype(np.float32)
    labels = random.integers(0, 4, 50).astype(np.int32)
    votes = neighbour_votes(points, LabelledCloud(cloud, labels), 5)
    for point, vote in zip(points, votes, strict=True):
        nearest = labels[np.argsort(np.linalg.norm(cloud - point, axis=1))[:5]]
        assert vote == np.bincount(nearest).argmax()
