"""Options of GP-NeRF: sizes, samples, heads and losses. The defaults are the small model's.

``config/gp_nerf.yaml`` holds those of the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

from semantic_field.settings import Settings, option


@dataclass(frozen=True)
class GPNeRFConfig(Settings):
    """See the module. Losses are weighted by the options that end in ``_weight``."""

    class_names: tuple[str, ...] = ()  # of the closed set; () = carried

    stem: int = option(16, "channels of the extractor at 1/2", 4)
    widths: tuple[int, ...] = option((16, 32, 64), "channels at 1/4, 1/8 and 1/16", None)
    stages: tuple[int, ...] = option((2, 2, 2), "residual blocks of the three stages", None)
    radiance: int = option(16, "channels of the radiance features", 1)
    semantic: int = option(
        8, "channels of each of the four levels of the semantic pyramid (closed set only)", 1
    )

    width: int = option(16, "channels of the transformers, a multiple of heads", 4)
    blocks: int = option(2, "blocks of a field and a ray transformer", 1)
    heads: int = option(4, "heads of the ray transformers", 1)
    expansion: int = option(2, "channels within the feed-forward networks, in widths", 1)
    dropout: float = option(0.0, "share of attention and features dropped in training", 0.0, 0.9)
    position: str = option(
        "ray",
        "what tells even blocks where a sample is: its place beside the target depth, or its "
        "coordinates in the world (paper)",
        choices=("ray", "world"),
    )
    frequencies: int = option(10, "octaves of the encoding of world coordinates", 1)
    evidence: bool = option(
        True,
        "tell the attention, beside how the rays differ, what speaks for a view: its own depth, "
        "its resolution, whether its colour and its label agree with the others'",
    )
    empty_samples: bool = option(
        False, "whether rays attend to samples that no view sees, too (paper)"
    )

    sampling: str = option(
        "guided",
        "samples around the target depth, or coarse ones even in inverse depth and then finer "
        "ones where the weights are (paper)",
        choices=("guided", "coarse_fine"),
    )
    samples: int = option(4, "samples of a ray where the target depth guides them", 1, 128)
    spread_m: float = option(0.05, "standard deviation of the samples around that depth", 0.0)
    coarse: int = option(48, "coarse samples of a ray", 2)
    importance: int = option(16, "finer samples of a ray", 0)

    color: str = option(
        "blended",
        "colours are the sources' own, weighed by the attention, plus what the network adds, or "
        "the network's alone (paper)",
        choices=("blended", "regressed"),
    )
    depth: str = option(
        "best",
        "depth outside of training: of the sample with the largest weight, or the weighted mean",
        choices=("best", "mean"),
    )
    fusion: bool = option(
        True, "let the head see rendered semantic and radiance features fused (S_fused)"
    )
    head: str = option("unet", "perception head of the closed set", choices=("unet", "fpn"))
    head_width: int = option(16, "channels of the perception head", 4)
    instances: int = option(0, "objects that the head can tell apart; 0 = no instances", 0)
    chunk: int = option(
        16384, "samples in source views that are worked on at once; what fits into a cache", 1
    )

    color_weight: float = option(3.0, "of squared colour errors, summed over channels", 0.0)
    semantic_weight: float = option(0.2, "of cross-entropies", 0.0)
    unfiltered: float = option(
        0.3, "carried: share of both before neighbouring rays are averaged", 0.0, 1.0
    )
    distillation_weight: float = option(0.25, "of 1 - cosine to the target's own features", 0.0)
    depth_guided_weight: float = option(0.25, "of the same along the ray, Eq. 13", 0.0)
    window: int = option(2, "samples on each side of the surface that are to look like it", 0)
    margin: float = option(0.0, "cosine that other samples may have to it", -1.0, 1.0)
    depth_weight: float = option(0.1, "of smooth L1 errors of depth, metres", 0.0)
    instance_weight: float = option(1.0, "of the terms of matched instances", 0.0)

    def __post_init__(self) -> None:
        for name in ("class_names", "widths", "stages"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        super().__post_init__()
        if len(self.widths) != 3 or len(self.stages) != 3 or min(*self.widths, *self.stages) < 1:
            raise ValueError(
                f"expected GPNeRFConfig.widths and stages of three numbers above 0, got "
                f"{self.widths} and {self.stages}: set widths: [16, 32, 64], stages: [2, 2, 2]"
            )
        if self.width % self.heads:
            raise ValueError(
                f"expected GPNeRFConfig.width to be a multiple of heads, got {self.width} and "
                f"{self.heads}: set width: {self.heads * max(1, self.width // self.heads)}"
            )
        total = 4 * self.semantic
        if self.class_names and (total % self.width or total % self.heads):
            raise ValueError(
                f"expected 4 x GPNeRFConfig.semantic to be a multiple of width and of heads, got "
                f"4 x {self.semantic}, {self.width} and {self.heads}: set semantic: {self.width}"
            )
        if self.instances and not self.class_names:
            raise ValueError(
                "expected GPNeRFConfig.class_names where instances are told apart, got none: "
                "name the classes, or set instances: 0"
            )
