"""Regions from colour and depth: what is apart in either is apart, and nothing else."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from semantic_field.data.sources import open_source
from semantic_field.evaluation.scores.region_scores import score_regions
from semantic_field.geometry import Camera
from semantic_field.teachers.depth_regions import DepthRegions
from semantic_field.teachers.regions import Regions, pool_features

DATA = Path(os.environ.get("SEMANTIC_FIELD_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not (DATA / "house").is_dir(), reason=f"needs the recordings of {DATA}"
)
CAMERA = Camera.from_field_of_view(320, 240, 1.0)


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A slanted wall with a poster on it and a box of the wall's colour before it."""
    inverse = 0.5 + 0.001 * np.arange(320, dtype=np.float32)  # a plane: 1/z is affine
    depth = np.tile(1.0 / inverse, (240, 1)).astype(np.float32)
    color = np.full((240, 320, 3), 120, np.uint8)
    truth = np.zeros((240, 320), np.int32)
    color[20:90, 40:140], truth[20:90, 40:140] = (170, 40, 40), 1
    depth[120:220, 180:280], truth[120:220, 180:280] = 0.9, 2
    return color, depth, truth


def test_a_slanted_wall_a_poster_and_a_box_are_three_regions():
    color, depth, truth = scene()
    noise = np.random.default_rng(0).integers(-3, 4, color.shape)
    color = (color + noise).astype(np.uint8)
    regions = DepthRegions().propose(color, depth, CAMERA)
    scores = score_regions(regions, truth)
    assert scores.best_iou > 0.97 and scores.purity > 0.99 and scores.boundary_recall > 0.99
    finest = regions.label_image()
    assert len(np.unique(finest)) == 3
    clear = {int(np.bincount(truth[mask]).argmax()): s for mask, s in zip(regions, regions.scores)}
    assert clear[2] > 0.9


def test_depth_alone_and_color_alone_each_find_their_part():
    color, depth, truth = scene()
    plain = np.full_like(color, 120)
    by_depth = score_regions(DepthRegions().propose(plain, depth, CAMERA), truth // 2)
    by_color = score_regions(DepthRegions().propose(color), truth % 2)
    assert by_depth.best_iou > 0.97 and by_depth.count == 2
    assert by_color.best_iou > 0.97 and by_color.count == 2


def test_holes_in_the_depth_do_not_make_regions():
    color, depth, truth = scene()
    holed = depth.copy()
    holed[np.random.default_rng(1).random(depth.shape) < 0.2] = 0
    holed[:15] = 0
    scores = score_regions(DepthRegions().propose(color, holed, CAMERA), truth)
    assert scores.best_iou > 0.9 and scores.count <= 12


def test_coarse_regions_come_first_and_every_pixel_is_covered():
    color = np.random.default_rng(2).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    regions = DepthRegions().propose(color)
    assert regions.masks.any(0).all()
    assert len({mask.tobytes() for mask in regions}) == len(regions)
    with pytest.raises(ValueError, match="with its camera"):
        DepthRegions().propose(color, np.ones((120, 160), np.float32))


@needs_data
@pytest.mark.data
def test_objects_of_a_furnished_room():
    """On frames of a room that the weights were not chosen on; docs have the figures."""
    source = open_source(str(DATA / "house" / "living"))
    proposer = DepthRegions()
    scores = []
    for index in (10, 60, 110):
        frame = source[index]
        regions = proposer.propose(frame.color, frame.depth, frame.camera)
        scores.append(score_regions(regions, frame.instances))
    assert np.mean([s.best_iou for s in scores]) > 0.58
    assert np.mean([s.purity for s in scores]) > 0.92
    assert np.mean([s.boundary_recall for s in scores]) > 0.8


def test_scores_of_regions_by_hand():
    truth = np.zeros((40, 40), np.int32)
    truth[:, 20:], truth[0, 0] = 1, -1
    halves = Regions.from_masks([truth == 0, truth == 1], (40, 40))
    perfect = score_regions(halves, truth)
    assert perfect.best_iou == 1.0 and perfect.purity == 1.0 and perfect.count == 2
    whole = score_regions(Regions.from_masks([np.ones((40, 40), bool)], (40, 40)), truth)
    assert whole.best_iou == pytest.approx((799 / 1600 + 800 / 1600) / 2)
    assert whole.purity == pytest.approx(800 / 1599) and whole.boundary_recall == 0.0
    with pytest.raises(ValueError, match="an object"):
        score_regions(halves, np.full((40, 40), -1))


@pytest.mark.skipif(
    not (DATA / "clip_mask_features").is_dir(), reason=f"needs the recordings of {DATA}"
)
@pytest.mark.data
def test_pooling_real_clip_features_under_real_masks():
    """A photo's 23 masks: painted with their CLIP features and pooled they are found again."""
    with np.load(DATA / "clip_mask_features" / "test_pair_000.npz", allow_pickle=False) as pair:
        masks, features = pair["masks"], torch.from_numpy(pair["features"].astype(np.float32))
    features = torch.nn.functional.normalize(features, dim=-1)
    assert float(features[0] @ features[2]) == pytest.approx(0.89, abs=0.01)  # two grey chairs
    regions = Regions.from_masks(masks, masks.shape[1:])
    top = regions.label_image()
    image = torch.cat([features, torch.zeros(1, features.shape[1])])[torch.from_numpy(top)]
    cells = image.unflatten(1, (80, 8)).unflatten(0, (60, 8)).mean((1, 3))
    pooled = pool_features(cells, regions)
    seen = [i for i in range(len(masks)) if (top[masks[i]] == i).mean() > 0.9]
    assert len(seen) >= 15
    own = (pooled * features).sum(1)[seen]
    assert own.min() > 0.95
    assert (pooled[seen] @ features.T).argmax(1).tolist() == seen
