"""Segmenters: small random models of the real architectures against transformers itself."""

import json

import cv2
import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional

from semantic_field.teachers.segmentation import Segmentation, doubts_of, names_in_words
from semantic_field.teachers.segmenter import TransformersSegmenter

NAMES = {0: "wall", 1: "diningtable", 2: "screen door, screen", 3: "floor-other-merged", 4: "CRT"}
WORDS = {0: "wall", 1: "dining table", 2: "screen door", 3: "floor", 4: "crt"}
STAGES = ["stage1", "stage2", "stage3", "stage4"]


@pytest.fixture(scope="module")
def color():
    """A photograph, as far as networks of random weights can tell: blobs of 80x48 pixels."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 255, (6, 10, 3), dtype=np.uint8)
    return cv2.resize(coarse, (80, 48), interpolation=cv2.INTER_CUBIC)


def swin():
    return transformers.SwinConfig(
        image_size=64, embed_dim=12, depths=[1] * 4, num_heads=[1, 2, 2, 2], window_size=2,
        out_features=STAGES,
    )  # fmt: skip


def segformer():
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16, 24, 32], depths=[1] * 4, num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16, id2label=NAMES,
    )  # fmt: skip
    processor = transformers.SegformerImageProcessor(size={"height": 64, "width": 64})
    return transformers.SegformerForSemanticSegmentation(config), processor


def upernet():
    backbone = transformers.ConvNextConfig(
        hidden_sizes=[8, 16, 24, 32], depths=[1] * 4, out_features=STAGES
    )
    config = transformers.UperNetConfig(
        backbone_config=backbone, hidden_size=16, auxiliary_channels=8, auxiliary_in_channels=24,
        id2label=NAMES,
    )  # fmt: skip
    processor = transformers.SegformerImageProcessor(size={"height": 64, "width": 64})
    return transformers.UperNetForSemanticSegmentation(config), processor


def mask2former():
    config = transformers.Mask2FormerConfig(
        backbone_config=swin(), feature_size=32, mask_feature_size=32, hidden_dim=32,
        encoder_feedforward_dim=16, dim_feedforward=16, encoder_layers=1, decoder_layers=2,
        num_attention_heads=2, num_queries=6, id2label=NAMES,
    )  # fmt: skip
    processor = transformers.Mask2FormerImageProcessor(size={"height": 64, "width": 64})
    return transformers.Mask2FormerForUniversalSegmentation(config), processor


def eomt(**processing):
    config = transformers.EomtConfig(
        hidden_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=64, patch_size=8,
        num_blocks=1, num_queries=6, num_upscale_blocks=1, id2label=NAMES,
    )  # fmt: skip
    in_parts = {"size": {"shortest_edge": 64, "longest_edge": None}, "do_split_image": True}
    processor = transformers.EomtImageProcessor(**(processing or in_parts))
    return transformers.EomtForUniversalSegmentation(config), processor


def eomt_whole():
    return eomt(size={"shortest_edge": 64, "longest_edge": 64}, do_pad=True)


def oneformer(folder):
    config = transformers.OneFormerConfig(
        backbone_config=swin(), conv_dim=32, mask_dim=32, hidden_dim=32, dim_feedforward=16,
        encoder_feedforward_dim=16, encoder_layers=1, decoder_layers=2, num_attention_heads=2,
        num_queries=6, query_dec_layers=1, text_encoder_width=16, text_encoder_num_layers=1,
        text_encoder_proj_layers=1, text_encoder_vocab_size=600, text_encoder_context_length=16,
        task_seq_len=16, text_encoder_n_ctx=4, is_training=False, id2label=NAMES,
    )  # fmt: skip
    letters = [chr(i) for i in range(33, 127)]
    tokens = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16
    )
    classes = {str(i): {"isthing": i % 2, "name": name} for i, name in NAMES.items()}
    (folder / "classes.json").write_text(json.dumps(classes))
    images = transformers.OneFormerImageProcessor(
        size={"height": 64, "width": 64}, repo_path=str(folder), class_info_file="classes.json",
        num_text=2,
    )  # fmt: skip
    processor = transformers.OneFormerProcessor(images, tokenizer, 16, 16)
    return transformers.OneFormerForUniversalSegmentation(config), processor


SEMANTIC = {"segformer": segformer, "upernet": upernet}
UNIVERSAL = {"mask2former": mask2former, "eomt": eomt, "oneformer": oneformer}
UNIVERSAL |= {"eomt_whole": eomt_whole}


def saved(kind, folder):
    """Save a small random model of a kind; returns it and its processor."""
    torch.manual_seed(0)
    make = (SEMANTIC | UNIVERSAL)[kind]
    model, processor = make(folder) if kind == "oneformer" else make()
    with torch.no_grad():  # as far apart as trained ones: else one class wins everywhere
        for name, parameter in model.named_parameters():
            if name.endswith("classifier.weight") or "class_predictor.weight" in name:
                parameter.mul_(300.0)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


def direct(model, processor, color, tasks):
    """What transformers itself says: outputs of the model, and its labels."""
    with torch.no_grad():
        outputs = model(**processor(images=color, return_tensors="pt", **tasks))
    (labels,) = processor.post_process_semantic_segmentation(
        outputs, target_sizes=[color.shape[:2]]
    )
    return outputs, labels.numpy()


@pytest.mark.parametrize("kind", SEMANTIC)
def test_semantic_models_say_what_transformers_says(kind, color, tmp_path):
    model, processor = saved(kind, tmp_path)
    segmenter = TransformersSegmenter(str(tmp_path), "cpu")
    found = segmenter.segment(color)
    outputs, labels = direct(model, processor, color, {})
    assert segmenter.names == WORDS and found.instances is None
    assert (found.labels == labels).mean() > 0.999 and len(np.unique(labels)) > 1
    probability = outputs.logits.softmax(1).amax(1)[:, None]
    expected = functional.interpolate(probability, color.shape[:2], mode="bilinear")[0, 0]
    np.testing.assert_allclose(found.doubts / 255.0, 1.0 - expected.numpy(), atol=0.02)
    assert found.doubts.std() > 1


@pytest.mark.parametrize("kind", UNIVERSAL)
def test_universal_models_say_what_transformers_says(kind, color, tmp_path):
    model, processor = saved(kind, tmp_path)
    segmenter = TransformersSegmenter(str(tmp_path), "cpu", with_instances=True)
    found = segmenter.segment(color)
    tasks = {"task_inputs": ["semantic"]} if kind == "oneformer" else {}
    outputs, labels = direct(model, processor, color, tasks)
    assert segmenter.names == WORDS
    assert (found.labels == labels).mean() > 0.999
    assert found.labels.shape == found.doubts.shape == color.shape[:2]
    if kind == "eomt":  # labels are put together from parts of the image, and so are no things
        assert found.instances is None
        return
    (things,) = processor.post_process_instance_segmentation(
        outputs, target_sizes=[color.shape[:2]]
    )
    expected = things["segmentation"]
    expected = np.full(labels.shape, -1) if expected is None else expected.numpy()
    assert (found.instances == expected).mean() > 0.999
    masks = outputs.masks_queries_logits.sigmoid()
    classes = outputs.class_queries_logits.softmax(-1)[..., :-1]
    scores = torch.einsum("bqc,bqhw->bchw", classes, masks)
    share = scores.amax(1) / scores.sum(1).clamp_min(1.0)
    if kind != "eomt_whole":  # which also labels what pads the image
        assert found.doubts.mean() / 255.0 == pytest.approx(1.0 - share.mean().item(), abs=0.03)


def test_the_same_model_has_the_same_fingerprint(tmp_path):
    saved("segformer", tmp_path)
    first = TransformersSegmenter(str(tmp_path), "cpu").fingerprint
    assert first == TransformersSegmenter(str(tmp_path), "cpu").fingerprint
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 0.1}))
    second = TransformersSegmenter(str(tmp_path), "cpu").fingerprint
    processing = json.loads((tmp_path / "preprocessor_config.json").read_text())
    larger = json.dumps(processing | {"size": {"height": 96, "width": 96}})
    (tmp_path / "preprocessor_config.json").write_text(larger)
    third = TransformersSegmenter(str(tmp_path), "cpu").fingerprint
    assert len({first, second, third}) == 3


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"teacher\.segmenter.*weights get segformer-b0"):
        TransformersSegmenter(str(tmp_path))
    saved("segformer", tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"expected an image processor .*save_pretrained"):
        TransformersSegmenter(str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    unnamed = {str(i): f"LABEL_{i}" for i in range(5)}
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": unnamed}))
    with pytest.raises(ValueError, match=r"in id2label .*got LABEL_0, LABEL_1"):
        TransformersSegmenter(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "vit"}))
    with pytest.raises(ValueError, match=r"expected one of .*segformer.*got 'vit'"):
        TransformersSegmenter(str(tmp_path))


def test_an_image_that_does_not_fit_is_named(color, tmp_path, short_memory):
    model, _ = saved("segformer", tmp_path)
    segmenter = TransformersSegmenter(str(tmp_path), "cpu")
    short_memory(type(model), "forward", 1)
    with pytest.raises(ValueError, match=r"the segmenter on an image of 80x48"):
        segmenter.segment(color)


def test_names_in_words():
    names = {0: "wall-other-merged", 1: "door-stuff", 2: "bed ", 3: "chest of drawers, bureau"}
    assert names_in_words(names, "here") == {0: "wall", 1: "door", 2: "bed", 3: "chest of drawers"}
    with pytest.raises(ValueError, match="in here, got none"):
        names_in_words({}, "here")


def test_doubts_are_what_confidence_leaves():
    confidence = np.array([[1.0, 0.5, 0.0, 1.2, -0.1]])
    assert doubts_of(confidence).tolist() == [[0, 128, 255, 0, 255]]
    labels = np.array([[1, -1]], np.int16)
    found = Segmentation(labels, np.array([[3, 255]], np.uint8))
    again = Segmentation.of_arrays(found.arrays())
    assert np.array_equal(again.labels, labels) and again.instances is None
