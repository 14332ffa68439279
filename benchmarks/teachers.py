"""What a keyframe costs each teacher of images, and how good the regions from depth are.

    python benchmarks/teachers.py [--data ../shared/data] [--only clip sam]

Models have the real architectures at their real sizes and random weights: what they say is
meaningless, what they cost is not. Times are processor seconds of one 640x480 keyframe on one
thread. Crops, and points for SAM, cost the same wherever they lie: a batch is timed and multiplied.
Beside them what the mapper itself does with what teachers say of a keyframe.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from common import write_results
from safetensors.torch import save_file
from torch import nn

from semantic_field.config import TeacherConfig
from semantic_field.data.sources import open_source
from semantic_field.evaluation.scores.held_out_views import fit
from semantic_field.evaluation.scores.region_scores import score_regions
from semantic_field.mapping.keyframes.store import KeyframeStore
from semantic_field.mapping.language.keyframe_features import MOST_UNITS
from semantic_field.mapping.language.region_features import unit_features, units_of
from semantic_field.mapping.language.surface_labels import SurfaceLabels
from semantic_field.teachers.clip_dense import crop_boxes
from semantic_field.teachers.clip_teacher import BATCH, OpenClipTeacher
from semantic_field.teachers.depth_regions import DepthRegions
from semantic_field.teachers.dino import DinoTeacher
from semantic_field.teachers.sam import Rules, SamRegions
from semantic_field.teachers.simulated import SimulatedTeacher

SIZE = (480, 640, 3)
PARTS = ("depth", "mapper", "clip", "dino", "sam")


def cpu_seconds(work: Callable[[], object], rounds: int = 1) -> float:
    """Median processor time of a piece of work."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return float(np.median(times))


def entry(
    name: str, seconds: float, note: str = "random weights", model: nn.Module | None = None
) -> dict:
    """A row; with ``model`` also the memory that its weights take."""
    memory = {}
    if model is not None:
        weights = sum(p.numel() * p.element_size() for p in model.parameters())
        memory = {"weights_mb": round(weights / 1e6)}
    print(f"{name:48s} {seconds:9.3f} s   {memory or ''} {note}")
    return {"name": name, "cpu_s_per_keyframe": round(seconds, 4)} | memory | {"note": note}


def clip_entries(folder: Path, color: np.ndarray) -> list[dict]:
    import open_clip

    model = open_clip.create_model("ViT-B-16", pretrained_text=False)
    file = folder / "vit_b_16.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, file)
    teacher = OpenClipTeacher(TeacherConfig(kind="open_clip", path=str(file), device="cpu"))
    patches = cpu_seconds(lambda: teacher.embed_image(color), 3)
    random = np.random.default_rng(0)
    crops = sum(len(crop_boxes(60, 80, d, random)) for d in TeacherConfig.crop_divisors)
    side = teacher._clip.side
    batch = torch.rand(BATCH["cpu"], 3, side, side)

    @torch.inference_mode()
    def encode() -> None:
        teacher._model.encode_image(batch)

    one = cpu_seconds(encode) / len(batch)
    single = cpu_seconds(lambda: teacher._encode(["dining table"]), 3)
    average = OpenClipTeacher(
        TeacherConfig(kind="open_clip", path=str(file), device="cpu", prompts="average")
    )
    many = cpu_seconds(lambda: average._encode(["dining table"]))
    note = f"{crops} crops of {one:.3f} s each, timed on {len(batch)}"
    return [
        entry("open_clip ViT-B/16, one pass", patches, model=teacher._model),
        entry("open_clip ViT-B/16, crops", crops * one, note),
        entry("open_clip ViT-B/16, a text, single prompt", single),
        entry("open_clip ViT-B/16, a text, 85 sentences", many),
    ]


def dino_entries(folder: Path, color: np.ndarray) -> list[dict]:
    from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

    small = {"hidden_size": 384, "num_attention_heads": 6}
    models = {
        "DINO ViT-B/8": ViTModel(ViTConfig(patch_size=8), add_pooling_layer=False),
        "DINOv2 ViT-S/14": Dinov2Model(Dinov2Config(patch_size=14, image_size=518, **small)),
    }
    entries = []
    for name, model in models.items():
        model.save_pretrained(folder / "dino")
        teacher = DinoTeacher(str(folder / "dino"), device="cpu")
        seconds = cpu_seconds(lambda teacher=teacher: teacher.patch_features(color))
        entries.append(entry(f"{name}, 32 x 43 patches", seconds, model=model))
    return entries


def sam_entries(folder: Path, color: np.ndarray) -> list[dict]:
    from transformers import Sam2Config, Sam2Model, SamConfig, SamModel

    models = {"SAM ViT-B": SamModel(SamConfig()), "SAM 2 Hiera-T": Sam2Model(Sam2Config())}
    entries = []
    for name, model in models.items():
        model.save_pretrained(folder / name.split()[-1])
        proposer = SamRegions(str(folder / name.split()[-1]), "cpu")
        pixels, shown = proposer._pixels(color)
        points, found = proposer._points(shown).split(Rules().batch, dim=1), []

        @torch.inference_mode()
        def encode(found=found, model=proposer._model, pixels=pixels) -> None:
            found.append(model.get_image_embeddings(pixels))

        image = cpu_seconds(encode)

        @torch.inference_mode()
        def decode(found=found, proposer=proposer, points=points, shown=shown) -> None:
            proposer._masks(found[0], points[0], shown, SIZE[:2])

        batch = cpu_seconds(decode)
        note = f"image {image:.1f} s, {len(points)} batches of points of {batch:.1f} s, one timed"
        seconds = image + len(points) * batch
        entries.append(entry(f"{name}, 32 x 32 points", seconds, note, model))
    return entries


def depth_entries(data: Path) -> list[dict]:
    """Times and quality of the regions from depth, on frames of both rooms of the house."""
    proposer, entries = DepthRegions(), []
    for room, step in (("living", 10), ("bedroom", 6)):
        source = open_source(str(data / "house" / room))
        frames = [source[i] for i in range(step // 2, len(source), step)]
        proposer.propose(frames[0].color, frames[0].depth, frames[0].camera)
        rows, seconds = [], []
        for frame in frames:
            began = time.thread_time()
            regions = proposer.propose(frame.color, frame.depth, frame.camera)
            seconds.append(time.thread_time() - began)
            rows.append(score_regions(regions, frame.instances))
        mean = {
            key: round(float(np.mean([getattr(row, key) for row in rows])), 4)
            for key in ("best_iou", "purity", "boundary_recall", "count")
        }
        note = ", ".join(f"{key} {value}" for key, value in mean.items())
        name = f"regions from depth, house/{room}, {len(frames)} frames"
        entries.append(entry(name, float(np.median(seconds)), note) | mean)
    return entries


def mapper_entries(data: Path) -> list[dict]:
    """What is made of teachers' answers: 320x240 as in the ablation, three scales, 64 columns."""
    source = open_source(str(data / "house" / "living"))
    frames = [fit(source[i], 320) for i in range(5, len(source), 16)]
    proposer, random = DepthRegions(), torch.Generator().manual_seed(0)
    store, labels = KeyframeStore(320, 240, len(frames), (0.1, 20.0)), SurfaceLabels(1 << 28)
    latents = torch.randn(3, 60, 80, 64, generator=random)
    regions = [proposer.propose(f.color, f.depth, f.camera) for f in frames]
    cut = [units_of(r, MOST_UNITS) for r in regions]
    footprint = SimulatedTeacher.footprint
    unmixing = [cpu_seconds(lambda u=u: unit_features(latents, u, footprint)) for u in cut]
    surface = []

    def shown(pixels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return latents[0, 0, 0].expand(len(pixels), 64), torch.ones(len(pixels))

    for slot, frame in enumerate(frames):
        store.add(frame, None)
        surface.append(cpu_seconds(lambda slot=slot: labels.add(store, slot, shown)))
    refresh = cpu_seconds(lambda: labels.refresh(torch.randn(40, 64, generator=random)))
    again = cpu_seconds(lambda: labels.refresh(torch.randn(40, 64, generator=random)))
    units = f"{np.mean([u.max() + 1 for u in cut]):.0f} units"
    cells = f"{len(labels._cells)} cells, {labels.memory_bytes() / 1e6:.0f} MB"
    return [
        entry("mapper: features of the regions", float(np.median(unmixing)), units),
        entry("mapper: keyframe into the surface", float(np.median(surface)), cells),
        entry("mapper: surface cut and labelled, in all", refresh, cells),
        entry("mapper: surface labelled, in all", again, cells),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", nargs="*", choices=PARTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    color = np.random.default_rng(0).integers(0, 256, SIZE, dtype=np.uint8)
    wanted = options.only or PARTS
    entries: list[dict] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part, measure in (("depth", depth_entries), ("mapper", mapper_entries)):
            if part in wanted and (options.data / "house").is_dir():
                entries += measure(options.data)
        for part, measure in (("clip", clip_entries), ("dino", dino_entries), ("sam", sam_entries)):
            if part in wanted:
                entries += measure(folder, color)
    print(f"written to {write_results('teachers', entries)}")


if __name__ == "__main__":
    main()
