"""SAM, SAM 2 and DINO: small random models of the real architectures, loaded the real way."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from semantic_field.config import TeacherConfig
from semantic_field.teachers.checkpoints import pretrained
from semantic_field.teachers.dino import DinoTeacher, make_patch_teacher
from semantic_field.teachers.factory import make_region_proposer
from semantic_field.teachers.sam import Rules, SamRegions, boxes_of, suppressed

transformers = pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.fixture
def color():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def saved(model, folder) -> str:
    model.save_pretrained(folder)
    assert (folder / "model.safetensors").is_file()
    return str(folder)


def tiny_sam():
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"image_size": 128, "patch_size": 16, "global_attn_indexes": [1], "window_size": 4}
    vision |= {"output_channels": 32, "mlp_dim": 32, "num_pos_feats": 16}
    prompt = {"hidden_size": 32, "image_size": 128, "patch_size": 16, "mask_input_channels": 8}
    decoder = {"hidden_size": 32, "mlp_dim": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    decoder |= {"iou_head_hidden_dim": 32}
    config = SamConfig(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
    )
    return SamModel(config).eval()


def tiny_sam2():
    from transformers import Sam2Config, Sam2Model

    torch.manual_seed(0)
    backbone = {"model_type": "sam2_hiera_det_model", "hidden_size": 16, "image_size": [128, 128]}
    backbone |= {"num_attention_heads": 1, "blocks_per_stage": [1, 1, 2, 1]}
    backbone |= {"embed_dim_per_stage": [16, 32, 64, 128]}
    backbone |= {"num_attention_heads_per_stage": [1, 2, 4, 8]}
    backbone |= {"window_size_per_stage": [8, 4, 4, 4], "global_attention_blocks": [3]}
    vision = {"backbone_config": backbone, "backbone_channel_list": [128, 64, 32, 16]}
    vision |= {"backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]], "fpn_hidden_size": 32}
    prompt = {"hidden_size": 32, "image_size": 128, "patch_size": 16, "mask_input_channels": 8}
    decoder = {"hidden_size": 32, "mlp_dim": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    decoder |= {"iou_head_hidden_dim": 32}
    config = Sam2Config(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
    )
    return Sam2Model(config).eval()


EVERYTHING = Rules(
    points_per_side=4, batch=6, least_iou=-9.0, least_stability=0.0, most_overlap=1.0
)


@pytest.mark.parametrize("make", [tiny_sam, tiny_sam2])
def test_sam_end_to_end(make, color, tmp_path):
    path = saved(make(), tmp_path)
    proposer = SamRegions(path, "cpu", EVERYTHING)
    regions = proposer.propose(color)
    assert len(regions) == 48 and regions.masks.shape[1:] == (48, 64)
    assert (np.diff(regions.scores) <= 0).all()  # SAM's order
    other = SamRegions(path, "cpu", EVERYTHING).propose(color)
    assert np.array_equal(other.masks, regions.masks)
    made = make_region_proposer(TeacherConfig(regions="sam", regions_path=path, device="cpu"))
    assert isinstance(made, SamRegions) and made.fingerprint != proposer.fingerprint
    assert (
        len(SamRegions(path, "cpu", Rules(points_per_side=2, least_iou=99.0)).propose(color)) == 0
    )


@pytest.mark.parametrize("make", [tiny_sam, tiny_sam2])
def test_masks_are_those_of_transformers_own_generator(make, color, tmp_path):
    """The library's own preparation and finishing of images around the same model."""
    from PIL import Image
    from transformers import Sam2ImageProcessor, Sam2Processor, SamImageProcessor, SamProcessor

    model = make()
    if make is tiny_sam:
        sizes = {"size": {"longest_edge": 128}, "pad_size": {"height": 128, "width": 128}}
        processor = SamProcessor(SamImageProcessor(**sizes))
    else:
        processor = Sam2Processor(Sam2ImageProcessor(size={"height": 128, "width": 128}))
    middle = [[[32.0, 24.0]]] if make is tiny_sam else [[[[32.0, 24.0]]]]
    inputs = processor(Image.fromarray(color), input_points=middle, return_tensors="pt")
    with torch.no_grad():
        output = model(**{k: v for k, v in inputs.items() if k in MODEL_INPUTS})
    sizes = {"reshaped_input_sizes": inputs["reshaped_input_sizes"]} if make is tiny_sam else {}
    expected = processor.image_processor.post_process_masks(
        output.pred_masks, inputs["original_sizes"], **sizes
    )[0].view(-1, 48, 64)
    rules = replace(EVERYTHING, points_per_side=1)
    regions = SamRegions(saved(model, tmp_path), "cpu", rules).propose(color)
    ious, order = output.iou_scores.flatten().sort(descending=True)
    np.testing.assert_allclose(regions.scores, ious, atol=1e-3)
    assert (regions.masks == expected[order].numpy()).mean() > 0.99


MODEL_INPUTS = ("pixel_values", "input_points", "input_labels")


def test_boxes_and_suppression():
    masks = torch.zeros(4, 6, 8, dtype=torch.bool)
    masks[0, 1:4, 2:6] = True
    masks[1, 1:4, 2:7] = True  # overlaps the first by 6 / 8 = .75
    masks[2, 0, 0] = True
    boxes = boxes_of(masks)
    assert boxes.tolist() == [[2, 1, 5, 3], [2, 1, 6, 3], [0, 0, 0, 0], [0, 0, 0, 0]]
    scores = torch.tensor([0.9, 0.95, 0.5, 0.4])
    assert suppressed(boxes, scores, 0.7).tolist() == [1, 2, 3]
    assert suppressed(boxes, scores, 0.8).tolist() == [1, 0, 2, 3]
    assert suppressed(boxes[:0], scores[:0], 0.7).tolist() == []


def test_unstable_masks_are_left_out(color, tmp_path):
    path = saved(tiny_sam(), tmp_path)
    every = SamRegions(path, "cpu", EVERYTHING)
    strict = SamRegions(path, "cpu", Rules(4, 6, least_iou=-9.0, least_stability=1.01))
    assert len(every.propose(color)) > len(strict.propose(color)) == 0


def small(kind, **options):
    """A transformer of 2 layers, 32 wide, with patches of 8 pixels."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"image_size": 32, "patch_size": 8, "intermediate_size": 48, "mlp_ratio": 2}
    config = getattr(transformers, f"{kind}Config")(**sizes, **options)
    torch.manual_seed(0)
    return getattr(transformers, f"{kind}Model")(config).eval()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ViT", {}),
        ("Dinov2", {}),
        ("Dinov2WithRegisters", {"num_register_tokens": 3}),
        ("DINOv3ViT", {"num_register_tokens": 4}),
    ],
)
def test_dino_end_to_end(kind, options, color, tmp_path):
    config = TeacherConfig(dino_path=saved(small(kind, **options), tmp_path), dino_rows=4)
    teacher = make_patch_teacher(config)
    features = teacher.patch_features(color)
    assert features.shape == (4, 5, 32) and features.dtype == torch.float32
    assert teacher.patch == 8 and teacher.dim == 32
    # What changes in one corner changes that corner's features most.
    changed = color.copy()
    changed[:12, :12] = 255 - changed[:12, :12]
    moved = (teacher.patch_features(changed) - features).norm(dim=-1)
    assert moved.argmax() == 0


def test_dino_is_taken_before_the_last_norm(color, tmp_path):
    model = small("ViT")
    model.layernorm.weight.data.uniform_(0.5, 2.0)
    teacher = DinoTeacher(saved(model, tmp_path), rows=4, device="cpu")
    image = np.ascontiguousarray(color[:32, :32])
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = ((torch.from_numpy(image) / 255.0 - mean) / std).permute(2, 0, 1)[None]
    with torch.no_grad():
        normed = model(pixels).last_hidden_state[0, 1:]
        got = teacher.patch_features(image).view(16, 32)
        assert torch.allclose(model.layernorm(got), normed, atol=1e-4)
    assert not torch.allclose(got, normed, atol=1e-2)


def test_missing_checkpoints_name_the_option(tmp_path):
    assert make_patch_teacher(TeacherConfig()) is None
    with pytest.raises(
        ValueError, match=r"teacher\.regions_path.*weights get sam2-tiny.*save_pretrained"
    ):
        make_region_proposer(TeacherConfig(regions="sam"))
    with pytest.raises(ValueError, match=r"teacher\.dino_path.*weights get dinov2-small"):
        make_patch_teacher(TeacherConfig(dino_path=str(tmp_path)))
    path = saved(small("ViT"), tmp_path)
    with pytest.raises(ValueError, match=r"one of sam, sam2.*got 'vit'"):
        make_region_proposer(TeacherConfig(regions="sam", regions_path=path))
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match="readable model"):
        make_patch_teacher(TeacherConfig(dino_path=path))


def test_weights_that_are_missing_are_said(tmp_path):
    """transformers would make random ones in their place."""
    path = saved(small("ViT"), tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["layernorm.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        ValueError, match=r"weights of vit.*1 of them \(layernorm\.weight.*weights get dinov2-small"
    ):
        make_patch_teacher(TeacherConfig(dino_path=path))
    save_file({"other": torch.zeros(3)}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="expected all weights of vit"):
        make_patch_teacher(TeacherConfig(dino_path=path))


CONTENT = {
    "model.safetensors": (b"", "an empty file: copy it again"),
    "model.safetensors ": (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    "config.json": (b"[]", r"a JSON object in .*config\.json, got a list"),
    "config.json ": (b"\xff\xfe", r"expected config\.json beside"),
    "config.json  ": (b'{"model_type": "vit", "hidden_size": "wide"}', "readable model"),
}


@pytest.mark.parametrize("name", CONTENT)
def test_damaged_files_name_the_remedy(tmp_path, name):
    path = saved(small("ViT"), tmp_path)
    content, said = CONTENT[name]
    (tmp_path / name.strip()).write_bytes(content)
    with pytest.raises(ValueError, match=said):
        make_patch_teacher(TeacherConfig(dino_path=path))


def test_fingerprints_follow_all_that_is_loaded(tmp_path):
    """The description, each part of a model in several files, and nothing beside them."""

    def fingerprint() -> str:
        return pretrained(str(tmp_path), ("vit",), "teacher.dino_path", "").fingerprint

    small("ViT").save_pretrained(tmp_path, max_shard_size="20kB")
    parts = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(parts) > 1
    seen = [fingerprint()]
    save_file({"lora": torch.ones(2)}, tmp_path / "adapter.safetensors")
    assert fingerprint() == seen[0]
    weights = load_file(parts[-1])
    weights[next(iter(weights))] += 1.0
    save_file(weights, parts[-1], {"format": "pt"})
    seen.append(fingerprint())
    description = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(description | {"layer_norm_eps": 0.1}))
    seen.append(fingerprint())
    assert len(set(seen)) == 3
    parts[-1].unlink()
    with pytest.raises(ValueError, match=f"got no {parts[-1].name}: copy them too"):
        fingerprint()


@pytest.mark.parametrize("make", [tiny_sam, tiny_sam2])
def test_points_of_sam_that_do_not_fit_are_halved(make, color, tmp_path, short_memory, caplog):
    model = make()
    path = saved(model, tmp_path)
    expected = SamRegions(path, "cpu", EVERYTHING).propose(color)
    proposer = SamRegions(path, "cpu", EVERYTHING)

    def is_short(model, input_points=None, **_):
        return input_points is not None and input_points.shape[1] > 2

    short_memory(type(model), "forward", is_short)
    regions = proposer.propose(color)
    assert len(regions) == 48
    np.testing.assert_allclose(regions.scores, expected.scores, atol=1e-3)
    assert (regions.masks == expected.masks).mean() > 0.99
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 2 and "1 instead of 3 points of an image for SAM" in said[1]


def test_images_that_do_not_fit_are_named(color, tmp_path, short_memory):
    sam = tiny_sam()
    proposer = SamRegions(saved(sam, tmp_path / "sam"), "cpu", EVERYTHING)
    short_memory(type(sam), "get_image_embeddings", 1)
    with pytest.raises(ValueError, match=r"SAM on an image of 64x48.*teacher\.regions_path"):
        proposer.propose(color)
    vit = small("ViT")
    teacher = DinoTeacher(saved(vit, tmp_path / "dino"), rows=4, device="cpu")
    short_memory(type(vit), "forward", 1)
    with pytest.raises(ValueError, match=r"DINO on an image of 64x48.*lower teacher\.dino_rows"):
        teacher.patch_features(color)
    assert teacher.patch_features(color).shape == (4, 5, 32)
