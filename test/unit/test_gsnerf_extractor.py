"""Extractors of features: sizes, cost, and that a frame's features are its own."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from semantic_field.generalizable.unet_extractor import ExtractorSettings, feature_extractor

SIZES = {"small": ((16, 2), (32, 4)), "unet": ((8, 1), (16, 2), (32, 4))}
SIZES["mobilenet"] = SIZES["unet"]


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("n_classes", [0, 5])
@pytest.mark.parametrize("size", [(32, 48), (36, 44)])
def test_levels_have_the_sizes_that_they_are_said_to_have(kind, n_classes, size):
    net = feature_extractor(ExtractorSettings(kind=kind), n_classes)
    found = net(torch.rand(2, 3, *size))
    assert tuple(zip(net.channels, net.strides, strict=True)) == SIZES[kind]
    right = [(2, c, size[0] // s, size[1] // s) for c, s in SIZES[kind]]
    finest = net.strides[0]
    right += [(2, n_classes, size[0] // finest, size[1] // finest)] * (2 if n_classes else 0)
    assert [tuple(part.shape) for part in found] == right


def test_the_small_one_is_small():
    net = feature_extractor(ExtractorSettings())
    with FlopCounterMode(display=False) as counter:
        net(torch.rand(1, 3, 240, 320))
    assert counter.get_total_flops() / 2 < 230e6  # multiplications
    assert sum(p.numel() for p in net.parameters()) < 120_000


@pytest.mark.parametrize(("norm", "own"), [("group", True), ("batch_in_use", False)])
def test_features_do_not_depend_on_the_other_frames_with_norms_of_groups(norm, own):
    """So that they can be kept with the frame; the released code's depend on the batch."""
    torch.manual_seed(0)
    net = feature_extractor(ExtractorSettings(norm=norm)).eval()
    frames = torch.rand(3, 3, 32, 32) * torch.tensor([0.2, 0.5, 1.0]).view(3, 1, 1, 1)
    with torch.no_grad():
        alone = torch.cat([net(frame[None])[0] for frame in frames])
        together = net(frames)[0]
    assert torch.allclose(alone, together, atol=1e-5) == own


def test_features_look_at_the_pixels_where_they_lie():
    """The levels lie where the frame's pixels are: not shifted, not mirrored."""
    torch.manual_seed(0)
    net = feature_extractor(ExtractorSettings())
    frame = torch.rand(1, 3, 64, 96)
    for v, u in ((20, 70), (41, 22)):
        for level, stride in zip((0, 1), net.strides, strict=True):
            pixel = frame.clone().requires_grad_()
            row, column = v // stride, u // stride
            net(pixel)[level][0, :, row, column].square().sum().backward()
            power = pixel.grad.square().sum((0, 1))
            rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
            middle = [(power * part).sum() / power.sum() for part in (rows, columns)]
            right = [(row + 0.5) * stride - 0.5, (column + 0.5) * stride - 0.5]
            assert [float(m) for m in middle] == pytest.approx(right, abs=2.0)


def test_sizes_and_widths_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="multiples of 4, got 50x40: resize them to 48x40"):
        feature_extractor(ExtractorSettings())(torch.rand(1, 3, 40, 50))
    with pytest.raises(ValueError, match="4 numbers of channels"):
        feature_extractor(ExtractorSettings(widths=(8, 16)))
