"""Label accuracy of a map as a point cloud: the nearest-neighbour protocols of 3D papers.

ConceptGraphs (Gu et al. 2024): every predicted point takes the label of the nearest true point.
RayFronts (Alama et al. 2025): both clouds become voxels; every true voxel takes the vote of its k
nearest predicted voxels, or, with k = 0, the label in the very same voxel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from semantic_field.evaluation.scores.class_set import ClassSet
from semantic_field.evaluation.scores.confusion import ConfusionMatrix, Rule, Scores
from semantic_field.evaluation.scores.surfaces import LabelledCloud, majority

GT_CLASSES = Rule(scope="set", classes="gt")


@dataclass(frozen=True)
class PointProtocol:
    """A 3D protocol.

    Attributes:
        ask: "prediction" = each predicted point looks up the truth, "truth" = the reverse.
        k: how many neighbours vote; 0 = the same voxel only.
        voxel_m: both clouds are made voxels of this edge first; 0 = points as they are.
        exclude: names of classes whose ground truth is left out.
    """

    name: str
    ask: str = "truth"
    k: int = 1
    voxel_m: float = 0.0
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.ask not in ("prediction", "truth") or self.k < 0 or self.voxel_m < 0:
            raise ValueError(
                f"expected ask 'prediction' or 'truth', k >= 0 and voxel_m >= 0, got {self}"
            )
        if self.k == 0 and not self.voxel_m:
            raise ValueError("expected voxel_m > 0 with k = 0 (the same voxel), got 0")


BACKGROUND = ("wall", "floor", "ceiling")
RAYFRONTS_EXCLUDED = (*BACKGROUND, "door", "window", "background")
POINT_PROTOCOLS = {
    item.name: item
    for item in (
        PointProtocol("concept_graphs", "prediction", k=1, exclude=("other",)),
        PointProtocol("concept_graphs_4", "prediction", k=1, exclude=("other", *BACKGROUND)),
        PointProtocol(
            "concept_graphs_6",
            "prediction",
            k=1,
            exclude=("other", *BACKGROUND, "door", "window"),
        ),
        PointProtocol("rayfronts", "truth", k=5, voxel_m=0.05, exclude=RAYFRONTS_EXCLUDED),
        PointProtocol("rayfronts_same_voxel", "truth", k=0, voxel_m=0.05),
    )
}


def point_scores(
    predicted: LabelledCloud, truth: LabelledCloud, names: dict[int, str], protocol: PointProtocol
) -> Scores:
    """mIoU over the ground-truth classes, accuracies and f-mIoU of a labelled cloud.

    A true point without any prediction is a miss of its class; without points all is NaN.
    """
    classes = ClassSet(names, ignore=protocol.exclude)
    if protocol.voxel_m:
        predicted, truth = (voxels(cloud, protocol.voxel_m) for cloud in (predicted, truth))
    if protocol.ask == "prediction":
        pairs = neighbour_votes(predicted.xyz, truth, protocol.k), predicted.label
    elif protocol.k:
        pairs = truth.label, neighbour_votes(truth.xyz, predicted, protocol.k)
    else:
        pairs = truth.label, same_voxel(truth.xyz, predicted, protocol.voxel_m)
    confusion = ConfusionMatrix(classes.names, GT_CLASSES)
    confusion.add(classes.rows(pairs[0]), classes.rows(pairs[1]))
    return confusion.result()


def voxels(cloud: LabelledCloud, voxel_m: float) -> LabelledCloud:
    """The cloud as voxel centres with the label that most of a voxel's points have."""
    if not len(cloud.xyz):
        return cloud
    cells = np.floor(cloud.xyz / voxel_m).astype(np.int64)
    unique, index = np.unique(cells, axis=0, return_inverse=True)
    centres = ((unique + 0.5) * voxel_m).astype(np.float32)
    return LabelledCloud(centres, majority(index.ravel(), cloud.label, len(unique)))


def neighbour_votes(
    points: NDArray[np.floating], cloud: LabelledCloud, k: int
) -> NDArray[np.int32]:
    """For each point (N, 3) the most frequent label of its k nearest; of equal ones the least."""
    if not len(cloud.xyz) or not len(points):
        return np.full(len(points), -1, np.int32)
    k = min(k, len(cloud.xyz))
    _, nearest = KDTree(cloud.xyz).query(points, k=k)
    labels = cloud.label[np.asarray(nearest).reshape(len(points), k)]
    if k == 1:
        return labels[:, 0]
    index = np.repeat(np.arange(len(points)), k)
    return majority(index, labels.ravel(), len(points))


def same_voxel(
    centres: NDArray[np.floating], cloud: LabelledCloud, voxel_m: float
) -> NDArray[np.int32]:
    """The label of the cloud's voxel around each centre, -1 where it has none."""
    label_of = {
        tuple(cell): label
        for cell, label in zip(
            np.floor(cloud.xyz / voxel_m).astype(np.int64).tolist(), cloud.label.tolist()
        )
    }
    cells = np.floor(centres / voxel_m).astype(np.int64).tolist()
    return np.array([label_of.get(tuple(cell), -1) for cell in cells], np.int32)
