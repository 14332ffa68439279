"""Image quality metrics: PSNR, SSIM, LPIPS, and depth errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

SSIM_WINDOW = 11
RIGHT_DEPTH_M = 0.05  # error up to which a depth is right


@dataclass(frozen=True)
class ColorScore:
    """PSNR in dB and SSIM (-1..1), over all pixels and over those with valid depth.

    NaN where there is no such pixel; PSNR is infinite for equal images.
    """

    psnr: float
    ssim: float
    psnr_valid: float
    ssim_valid: float


@dataclass(frozen=True)
class DepthScore:
    """Depth errors in metres over pixels with a reading and a rendered surface.

    Attributes:
        l1: mean absolute error.
        median: median absolute error.
        within_5cm: share of all readings with a rendered depth within 5 cm.
        early_5cm, late_5cm: share of all readings rendered at least 5 cm too near, or too far.
        covered: share of all readings with a rendered surface.
        pixels: number of readings.
    """

    l1: float
    median: float
    within_5cm: float
    early_5cm: float
    late_5cm: float
    covered: float
    pixels: int


def psnr(
    truth: NDArray[np.uint8], rendered: NDArray[np.uint8], mask: NDArray[np.bool_] | None = None
) -> float:
    """Return 10 log10(255^2 / MSE) in dB over the pixels of ``mask`` (H, W) and all channels.

    NaN without pixels, infinite for equal images.
    """
    error = (truth.astype(np.float64) - rendered) ** 2
    error = error if mask is None else error[mask]
    if not error.size:
        return float("nan")
    mean = error.mean()
    return float("inf") if mean == 0 else float(10 * np.log10(255.0**2 / mean))


def ssim_map(truth: NDArray[np.uint8], rendered: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the structural similarity (H, W), averaged over channels (Wang et al. 2004).

    Gaussian window of 11 pixels, sigma 1.5, population covariance, as in the paper.

    Raises:
        ValueError: if images are smaller than the window.
    """
    from skimage.metrics import structural_similarity

    if min(truth.shape[:2]) < SSIM_WINDOW:
        raise ValueError(f"expected images of at least {SSIM_WINDOW} pixels, got {truth.shape[:2]}")
    result = structural_similarity(
        truth,
        rendered,
        channel_axis=2,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return np.asarray(result[1]).mean(axis=2)


def color_score(
    truth: NDArray[np.uint8], rendered: NDArray[np.uint8], valid: NDArray[np.bool_]
) -> ColorScore:
    """Return PSNR and SSIM of two uint8 RGB images (H, W, 3); ``valid`` (H, W) = has depth.

    As in Wang et al.'s code, SSIM leaves out a border of half a window.
    """
    similarity = ssim_map(truth, rendered)
    border = SSIM_WINDOW // 2
    inner = np.zeros(valid.shape, bool)
    inner[border:-border, border:-border] = True
    use = inner & valid
    return ColorScore(
        psnr=psnr(truth, rendered),
        ssim=float(similarity[inner].mean()) if inner.any() else float("nan"),
        psnr_valid=psnr(truth, rendered, valid),
        ssim_valid=float(similarity[use].mean()) if use.any() else float("nan"),
    )


def depth_score(truth: NDArray[np.float32], rendered: NDArray[np.float32]) -> DepthScore:
    """Return the errors of rendered z-depth (H, W) in metres; 0 = no reading or no surface."""
    reading = truth > 0
    both = reading & (rendered > 0)
    late = rendered[both].astype(np.float64) - truth[both]
    error = np.abs(late)
    count = int(reading.sum())

    def share(of: NDArray[np.bool_]) -> float:
        return float(of.sum() / count) if count else float("nan")

    return DepthScore(
        l1=float(error.mean()) if error.size else float("nan"),
        median=float(np.median(error)) if error.size else float("nan"),
        within_5cm=share(error < RIGHT_DEPTH_M),
        early_5cm=share(late <= -RIGHT_DEPTH_M),
        late_5cm=share(late >= RIGHT_DEPTH_M),
        covered=share(both),
        pixels=count,
    )


class Lpips:
    """LPIPS (Zhang et al. 2018) by torchmetrics, if its weights are on this machine.

    Nothing is downloaded. ``missing`` says why LPIPS cannot be computed; "" if it can.
    """

    def __init__(self, net: Literal["vgg", "alex", "squeeze"] = "vgg") -> None:
        self._metric, self.missing = None, _lpips_missing(net)
        if not self.missing:
            # Optional: not a requirement of this package, and useless without weights.
            from torchmetrics.image import lpip  # pyright: ignore[reportMissingImports]

            self._metric = lpip.LearnedPerceptualImagePatchSimilarity(net, normalize=True)

    def __call__(self, truth: NDArray[np.uint8], rendered: NDArray[np.uint8]) -> float | None:
        """Return the LPIPS distance of two uint8 RGB images (H, W, 3), or None without weights."""
        if self._metric is None:
            return None
        import torch

        pair = [
            torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
            for image in (truth, rendered)
        ]
        with torch.no_grad():
            return float(self._metric(*pair))


def _lpips_missing(net: str) -> str:
    """Return why LPIPS cannot be computed here, "" if it can."""
    from importlib.util import find_spec
    from pathlib import Path

    for package in ("torchmetrics", "torchvision"):
        if find_spec(package) is None:
            return f"LPIPS left out: {package} is not installed"
    import torch

    backbone = {"vgg": "vgg16-", "alex": "alexnet-", "squeeze": "squeezenet1_1-"}[net]
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if not list(folder.glob(f"{backbone}*.pth")):
        return f"LPIPS left out: no backbone weights {backbone}*.pth in {folder}"
    return ""
