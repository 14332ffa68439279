"""The mIoU definitions of published systems, by name.

Each is what the released code computes, which is not always what the paper says. ``docs/
evaluation.md`` has the list with what is counted and what is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from semantic_field.evaluation.scores.confusion import Rule, Scores


@dataclass(frozen=True)
class Convention:
    """A rule, and which of its figures is the published headline."""

    name: str
    rule: Rule
    headline: Callable[[Scores], float]
    about: str


def _miou(scores: Scores) -> float:
    return scores.miou


_LIST = (
    Convention(
        "semantic_nerf",
        Rule(scope="set", classes="union"),
        _miou,
        "one matrix over the whole test set, void left out, mean over non-empty unions",
    ),
    Convention(
        "semantic_nerf_valid",
        Rule(scope="set", classes="gt"),
        _miou,
        "Semantic-NeRF's second figure (mIoU_validclass): mean over ground-truth classes",
    ),
    Convention(
        "semantic_ray",
        Rule(scope="image", classes="gt", unpredicted="drop", empty_image="zero"),
        _miou,
        "per image over its ground-truth classes, then the mean over images; void left out; "
        "pixels predicted as void are left out too, images without labels count as 0",
    ),
    Convention(
        "gp_nerf",
        Rule(scope="image", classes="gt", unpredicted="drop", empty_image="zero"),
        _miou,
        "as semantic_ray; published on every second pixel, then the mean over scenes",
    ),
    Convention(
        "gsnerf",
        Rule(scope="image", classes="gt", void="class"),
        _miou,
        "per image over its ground-truth classes, then the mean; void is a class like any other",
    ),
    Convention(
        "ov_nerf",
        Rule(scope="image", classes="union", unpredicted="class"),
        _miou,
        "per image over classes in ground truth or prediction, 'no prediction' among the latter; "
        "its mAcc is the total accuracy per image",
    ),
    Convention(
        "semantic_srn",
        Rule(scope="image", classes="union", void="class"),
        _miou,
        "per image over non-empty unions, background included, then the mean",
    ),
    Convention(
        "f_miou",
        Rule(scope="set", classes="gt"),
        lambda scores: scores.fw_iou,
        "IoU weighted by ground-truth frequency over the whole set",
    ),
)
CONVENTIONS = {item.name: item for item in _LIST}


def convention(name: str) -> Convention:
    """A convention by name; ValueError with the known names."""
    if name not in CONVENTIONS:
        raise ValueError(f"expected a convention of {sorted(CONVENTIONS)}, got {name!r}")
    return CONVENTIONS[name]
