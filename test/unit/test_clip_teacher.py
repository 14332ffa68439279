"""The teacher open_clip: small random models of the real architectures, loaded the real way."""

import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from semantic_field.config import TeacherConfig
from semantic_field.kernels.device_memory import Halving
from semantic_field.teachers import clip_teacher, make_language_teacher
from semantic_field.teachers.checkpoints import on_device, weights_file
from semantic_field.teachers.clip_checkpoint import encode_texts, load_clip
from semantic_field.teachers.clip_dense import (
    crop_boxes,
    crop_features,
    mean_over_crops,
    patch_features,
)
from semantic_field.teachers.clip_teacher import OpenClipTeacher
from semantic_field.teachers.prompts import sentences

pytest.importorskip("open_clip", reason="open_clip_torch is not installed")

TINY = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {
        "context_length": 20,
        "vocab_size": 49408,
        "width": 32,
        "heads": 2,
        "layers": 2,
    },
}


def new_model(description: dict, file):
    """A random model of an architecture that is described in ``file``."""
    import open_clip

    file.write_text(json.dumps(description))
    open_clip.add_model_config(file)
    torch.manual_seed(0)
    return open_clip.create_model(file.stem, pretrained_text=False).eval()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder with the description and the weights as .safetensors, and the model itself."""
    folder = tmp_path_factory.mktemp("clip")
    model = new_model(TINY, folder / "tiny-clip.json")
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "tiny.safetensors")
    return folder, model


def config(folder, **options) -> TeacherConfig:
    options = {"path": str(folder / "tiny.safetensors"), "device": "cpu"} | options
    options = {"architecture": str(folder / "tiny-clip.json")} | options
    return TeacherConfig(kind="open_clip", **options)


@pytest.fixture(scope="module")
def teacher(tiny):
    return make_language_teacher(config(tiny[0]))


@pytest.fixture
def color():
    return np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)


def test_texts_are_what_open_clip_says(tiny, teacher):
    import open_clip

    tokens = open_clip.get_tokenizer("tiny-clip")(["dining table", "lamp"])
    with torch.no_grad():
        expected = torch.nn.functional.normalize(tiny[1].encode_text(tokens), dim=-1)
    assert torch.allclose(teacher.embed_text(["DiningTable", "lamp"]), expected, atol=1e-5)
    assert teacher.dim == 24 and teacher.embed_text([]).shape == (0, 24)
    with pytest.raises(ValueError, match="with words"):
        teacher.embed_text([" "])
    center = teacher.calibration.center
    assert center.shape == (24,) and center.norm() > 0


def test_average_over_85_sentences(tiny, teacher):
    import open_clip

    assert len(sentences("lamp", True)) == 85 and sentences("lamp", False) == ["lamp"]
    average = OpenClipTeacher(config(tiny[0], prompts="average"))
    assert average.fingerprint != teacher.fingerprint
    got = average.embed_text(["lamp"])
    with torch.no_grad():
        said = tiny[1].encode_text(open_clip.get_tokenizer("tiny-clip")(sentences("lamp", True)))
    expected = torch.nn.functional.normalize(torch.nn.functional.normalize(said).mean(0), dim=0)
    assert torch.allclose(got[0], expected, atol=1e-5)
    assert not torch.allclose(got, teacher.embed_text(["lamp"]), atol=1e-3)


def test_checkpoints_of_every_kind_give_the_same(tiny, teacher, tmp_path):
    folder, model = tiny
    torch.save(model.state_dict(), tmp_path / "plain.pt")
    wrapped = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": wrapped}, tmp_path / "trained.pt")
    own = own_folder(tmp_path / "own", model, {"model_cfg": TINY})
    expected = teacher.embed_text(["lamp"])
    for path in (tmp_path / "plain.pt", tmp_path / "trained.pt", folder):
        got = OpenClipTeacher(config(folder, path=str(path)))
        assert torch.allclose(got.embed_text(["lamp"]), expected, atol=1e-6)
    alone = OpenClipTeacher(own)
    assert torch.allclose(alone.embed_text(["lamp"]), expected, atol=1e-6)


class Harmful:
    def __reduce__(self):
        return (open, ("harmed", "w"))


def test_what_cannot_be_loaded_is_said(tiny, tmp_path, monkeypatch):
    folder = tiny[0]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=r"teacher\.path.*weights get clip-vit-b16.*train or fine-tune"
    ):
        OpenClipTeacher(config(folder, path=""))
    with pytest.raises(ValueError, match=r"teacher\.path"):
        OpenClipTeacher(config(folder, path=str(tmp_path / "nothing.pt")))
    with (tmp_path / "code.pt").open("wb") as file:
        pickle.dump(Harmful(), file)
    torch.save({"state_dict": Harmful()}, tmp_path / "code.bin")
    for name in ("code.pt", "code.bin"):
        with pytest.raises(ValueError, match="runs code"):
            OpenClipTeacher(config(folder, path=str(tmp_path / name)))
    assert not (tmp_path / "harmed").exists()
    path = str(folder / "tiny.safetensors")
    with pytest.raises(ValueError, match=r"ViT-B-16.*teacher\.architecture"):
        OpenClipTeacher(TeacherConfig(kind="open_clip", path=path, device="cpu"))
    with pytest.raises(ValueError, match="one of open_clip's"):
        OpenClipTeacher(TeacherConfig(kind="open_clip", path=path, architecture="ViT-Z"))
    (tmp_path / "bad.safetensors").write_bytes(b"12345678")
    with pytest.raises(ValueError, match="expected weights"):
        OpenClipTeacher(config(folder, path=str(tmp_path / "bad.safetensors")))


FAULTS = {
    "empty": ("weights.pt", b"", "an empty file: copy it again"),
    "pointer": ("weights.pt", b"version https://git-lfs.github.com/spec/v1\noid 1", "git lfs pull"),
    "pointer, safe": ("weights.safetensors", b"version https://git-lfs.github.com", "git lfs pull"),
    "no weights": ("weights.pt", {}, "StopIteration"),
    "no tensors": ("weights.pt", {"state_dict": [1]}, "AttributeError"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_files_without_weights_are_named(tiny, tmp_path, fault):
    name, content, said = FAULTS[fault]
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        torch.save(content, tmp_path / name)
    with pytest.raises(ValueError, match=rf"expected weights .*{name}.*{said}"):
        OpenClipTeacher(config(tiny[0], path=str(tmp_path / name)))


DESCRIPTIONS = {
    "unknown key": {"model_cfg": TINY | {"colour": 3}},
    "no side": {"model_cfg": TINY | {"vision_cfg": {}}},
    "no list": [TINY],
    "no texts": {"model_cfg": TINY | {"text_cfg": TINY["text_cfg"] | {"vocab_size": 7}}},
    "two means": {"model_cfg": TINY, "preprocess_cfg": {"mean": [0.5, 0.5]}},
    "words": {"model_cfg": TINY, "preprocess_cfg": {"std": ["a", "b", "c"]}},
}


def own_folder(folder, model, description: object):
    """A folder of a model with its description, as people hand them on."""
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(description))
    torch.save(model.state_dict(), folder / "weights.pt")
    return TeacherConfig(kind="open_clip", path=str(folder), device="cpu")


@pytest.mark.parametrize("fault", DESCRIPTIONS)
def test_descriptions_that_do_not_fit_are_named(tiny, tmp_path, fault):
    with pytest.raises(ValueError, match=f"expected .*{tmp_path.name}.*own"):
        OpenClipTeacher(own_folder(tmp_path, tiny[1], DESCRIPTIONS[fault]))


def test_nothing_comes_from_the_net(tiny, tmp_path, monkeypatch):
    """A text tower that is known by its name on the hub only is refused without asking there."""
    import socket

    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("asked the net"))
    tower = {"hf_model_name": "somebody/no-such-tower", "hf_tokenizer_name": "somebody/none"}
    description = {"model_cfg": TINY | {"text_cfg": tower | {"hf_pooler_type": "mean_pooler"}}}
    with pytest.raises(ValueError, match=r"open_clip_config\.json names.*let hf_model_name be"):
        OpenClipTeacher(own_folder(tmp_path, tiny[1], description))
    assert constants.HF_HUB_OFFLINE is False  # as it was before


def test_a_text_tower_of_hugging_face_from_folders_alone(tmp_path):
    """Its configuration in a folder, its tokenizer beside the weights."""
    import open_clip
    from transformers import BertConfig

    from semantic_field.teachers.minilm import model_folder

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    BertConfig(**sizes, intermediate_size=16).save_pretrained(tmp_path / "tower")
    text = {"hf_model_name": str(tmp_path / "tower"), "hf_tokenizer_name": "somebody/bert"}
    text |= {"hf_pooler_type": "mean_pooler", "hf_proj_type": "linear", "context_length": 20}
    description = json.dumps({"model_cfg": TINY | {"text_cfg": text}})
    (tmp_path / "open_clip_config.json").write_text(description)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((model_folder() / name).read_bytes())
    options = {"load_weights": False, "pretrained_text": False}
    model = open_clip.create_model(f"local-dir:{tmp_path}", **options)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    teacher = OpenClipTeacher(TeacherConfig(kind="open_clip", path=str(tmp_path), device="cpu"))
    assert teacher.embed_text(["lamp", "chair"]).shape == (2, 24)


def test_fingerprints_tell_descriptions_apart(tiny, tmp_path):
    """Of the same weights: another activation, other means, another file of the same name."""
    descriptions = [
        {"model_cfg": TINY},
        {"model_cfg": TINY | {"quick_gelu": True}},
        {"model_cfg": TINY, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}},
    ]
    configs = [own_folder(tmp_path / str(i), tiny[1], d) for i, d in enumerate(descriptions)]
    again = own_folder(tmp_path / "again", tiny[1], descriptions[0])
    (tmp_path / "tiny-clip.json").write_text(json.dumps(TINY | {"quick_gelu": True}))
    configs += [config(tiny[0]), config(tiny[0], architecture=str(tmp_path / "tiny-clip.json"))]
    marks = [load_clip(c.path, c.architecture).fingerprint for c in [*configs, again]]
    assert len(set(marks)) == 5 and marks[0] == marks[-1]


def test_of_several_checkpoints_none_is_guessed(tmp_path):
    def found(*names: str):
        for name in names:
            (tmp_path / name).touch()
        return weights_file(str(tmp_path), "teacher.path", "").name

    assert found("epoch_1.pt") == "epoch_1.pt"
    with pytest.raises(ValueError, match=r"epoch_1\.pt, epoch_2\.pt.*set teacher\.path"):
        found("epoch_2.pt")
    assert found("model.safetensors") == "model.safetensors"
    assert found("open_clip_pytorch_model.bin") == "open_clip_pytorch_model.bin"
    assert found("open_clip_model.safetensors") == "open_clip_model.safetensors"


@pytest.mark.parametrize("divisors", [(0,), (), ("5", "7"), (5, 2.5), (True,), (-3,)])
def test_divisors_are_whole_numbers(divisors):
    with pytest.raises(ValueError, match=r"crop_divisors.*whole numbers"):
        TeacherConfig(crop_divisors=divisors)


def test_a_device_that_does_not_take_the_model_is_said():
    """A GPU that is full, or, where there is none, a torch that knows of none."""
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        with pytest.raises(ValueError, match=r"room for .*a net on cuda.*teacher\.device to cpu"):
            on_device(torch.nn.Linear(4096, 4096), torch.device("cuda"), torch.float32, "a net")
    finally:
        if cuda:
            torch.cuda.set_per_process_memory_fraction(1.0)


# --- crops -------------------------------------------------------------------------------------


class NoJitter:
    def integers(self, low, high, size, endpoint):
        return np.zeros(size, np.int64)


def test_crops_follow_3d_ovs():
    """A 60 x 80 image over 5: squares of 12 pixels, 3 apart; the last columns stand over."""
    boxes = crop_boxes(60, 80, 5, NoJitter())
    assert len(boxes) == 17 * 24  # (60 - 12) / 3 + 1 rows; 68 / 3 = 22.67, so 23 + 1 columns
    assert boxes[0].tolist() == [0, 0, 12, 12] and boxes[1].tolist() == [3, 0, 15, 12]
    assert boxes[23].tolist() == [69, 0, 80, 12] and boxes[-1].tolist() == [69, 48, 80, 60]
    jittered = crop_boxes(60, 80, 5, np.random.default_rng(0))
    outward = np.stack([boxes[:, :2] - jittered[:, :2], jittered[:, 2:] - boxes[:, 2:]])
    assert outward.min() == 0 and outward.max() == 3
    assert len(np.unique((jittered - boxes)[200:220], axis=0)) > 5  # each side by itself
    with pytest.raises(ValueError, match=r"teacher\.crop_shrink"):
        crop_boxes(30, 40, 10, NoJitter())


def test_mean_over_crops_against_a_plain_loop():
    random = np.random.default_rng(1)
    boxes = crop_boxes(20, 30, 3, random)[::2]
    features = torch.from_numpy(random.normal(size=(len(boxes), 5)).astype(np.float32))
    total, count = torch.zeros(20, 30, 5), torch.zeros(20, 30, 1)
    for (left, top, right, bottom), feature in zip(boxes, features, strict=True):
        total[top:bottom, left:right] += feature
        count[top:bottom, left:right] += 1
    expected = total / count.clamp_min(1)
    assert torch.allclose(mean_over_crops(boxes, features, 20, 30), expected, atol=1e-5)


def test_crop_features_of_three_scales_in_full_batches():
    """An encoder that gives the mean colour: smooth images come back, whatever the scale."""
    sizes = []

    def encode(crops):
        sizes.append(len(crops))
        assert crops.shape[1:] == (3, 16, 16)
        return crops.mean((2, 3))

    image = torch.full((3, 30, 40), 0.25)
    image[:, :, 20:] = torch.tensor([0.1, 0.9, 0.4])[:, None, None]
    features = crop_features(
        encode, image, (3, 5), 16, Halving(32, 1, "crops", ""), np.random.default_rng(0)
    )
    assert features.shape == (2, 30, 40, 3)
    assert torch.allclose(features[:, :, 0], torch.tensor([1.0, 1.0, 1.0]) / 3**0.5, atol=1e-3)
    right = torch.tensor([0.1, 0.9, 0.4])
    assert torch.allclose(features[:, :, -1], right / right.norm(), atol=1e-3)
    assert set(sizes[:-1]) == {32}
    edge = (features[:, 15, 1:] - features[:, 15, :-1]).norm(dim=-1) > 1e-3
    assert edge[0].sum() < edge[1].sum()  # the smallest crops come first


def test_crops_end_to_end(tiny, color):
    teacher = OpenClipTeacher(config(tiny[0], dense="crops", crop_shrink=2, crop_divisors=(2, 3)))
    assert teacher.footprint == (1.25 / 3, 1.25 / 2)  # as the scales: the smallest crops first
    features = teacher.embed_image(color)
    assert features.shape == (2, 48, 64, 24) and features.dtype == torch.float16
    assert torch.allclose(features.float().norm(dim=-1), torch.ones(2, 48, 64), atol=2e-3)
    assert torch.equal(features, teacher.embed_image(color))


# --- patches -----------------------------------------------------------------------------------


def test_patches_cover_the_image(teacher, color):
    features = teacher.embed_image(color)
    assert features.shape == (1, 8, 11, 24)  # 64 x 85.3 pixels in patches of 8
    assert torch.allclose(features.float().norm(dim=-1), torch.ones(1, 8, 11), atol=2e-3)


def test_values_of_the_last_attention(tiny):
    """Where every patch attends to itself alone, attention gives its values: the same result."""
    visual = tiny[1].visual
    torch.manual_seed(1)
    image = torch.rand(1, 3, 32, 32)
    got = patch_features(visual, image)
    last = visual.transformer.resblocks[-1]
    with torch.no_grad():
        tokens = visual.transformer.resblocks[0](visual._embeds(image))
        alone = torch.full((17, 17), -torch.inf).fill_diagonal_(0.0)
        normed = last.ln_1(tokens)
        values = last.attn(normed, normed, normed, need_weights=False, attn_mask=alone)[0]
        expected = (visual.ln_post(values) @ visual.proj)[0, 1:]
    expected = torch.nn.functional.normalize(expected, dim=-1).view(4, 4, -1)
    assert torch.allclose(got, expected, atol=1e-5)
    assert patch_features(visual, torch.rand(1, 3, 24, 48)).shape == (3, 6, 24)


def test_values_of_a_resnet(tmp_path):
    """One cell: attention over one place and its mean, which are the same, gives its value."""
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    vision |= {"head_width": 64}
    model = new_model(TINY | {"vision_cfg": vision}, tmp_path / "tiny-resnet.json")
    image = torch.rand(1, 3, 64, 96)
    features = patch_features(model.visual, image)
    assert features.shape == (2, 3, 24)
    single = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        model.visual.attnpool.positional_embedding.zero_()
        whole = torch.nn.functional.normalize(model.visual(single), dim=-1)
    assert torch.allclose(patch_features(model.visual, single)[0, 0], whole[0], atol=1e-5)


def test_towers_without_values_say_so():
    with pytest.raises(ValueError, match=r"teacher\.dense to crops"):
        patch_features(torch.nn.Linear(2, 2), torch.zeros(1, 3, 8, 8))


# --- store -------------------------------------------------------------------------------------


def test_store_answers_for_the_model(tiny, color, tmp_path, monkeypatch):
    options = {"store": str(tmp_path)}
    first = OpenClipTeacher(config(tiny[0], **options)).embed_image(color)
    second = OpenClipTeacher(config(tiny[0], **options))
    monkeypatch.setattr(
        clip_teacher, "patch_features", lambda *image: pytest.fail("was stored already")
    )
    assert torch.equal(second.embed_image(color), first)


def test_features_of_other_models_come_from_the_store(tiny, color, tmp_path):
    from semantic_field.teachers.feature_store import FeatureStore, image_key

    teacher = OpenClipTeacher(config(tiny[0], dense="store", store=str(tmp_path)))
    with pytest.raises(ValueError, match="precompute"):
        teacher.embed_image(color)
    own = np.random.default_rng(0).normal(size=(1, 3, 4, 24)).astype(np.float16)
    store = FeatureStore(tmp_path, teacher.dense_fingerprint)
    store.put(image_key(color), {"language": own})
    assert np.array_equal(teacher.embed_image(color).numpy(), own)
    with pytest.raises(ValueError, match=r"teacher\.store"):
        OpenClipTeacher(config(tiny[0], dense="store"))


def test_images_are_recognised_as_open_clip_does(tiny, teacher):
    import open_clip

    texts, side = ["chair", "lamp", "guitar"], 32
    color = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    image = (torch.from_numpy(color).permute(2, 0, 1) / 255.0)[None]
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1)
        for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    tokens = open_clip.get_tokenizer("tiny-clip")(texts)
    with torch.no_grad():
        logits, _ = tiny[1].get_logits((image - mean) / std, tokens)
    assert torch.allclose(teacher.recognise(color, texts), logits[0].softmax(0), atol=1e-4)
    thin = teacher.recognise(color[:, :1], texts)  # of any shape
    assert thin.sum() == pytest.approx(1.0, abs=1e-5)


# --- memory ------------------------------------------------------------------------------------


def test_crops_and_texts_that_do_not_fit_are_halved(tiny, color, short_memory, caplog):
    options = config(tiny[0], dense="crops", crop_shrink=2, crop_divisors=(2, 3))
    roomy = OpenClipTeacher(options)
    texts = [f"thing {i}" for i in range(50)]
    folder = (str(tiny[0] / "tiny.safetensors"), str(tiny[0] / "tiny-clip.json"))
    expected, words = roomy.embed_image(color), encode_texts(load_clip(*folder), texts)
    kind = type(tiny[1])
    short_memory(kind, "encode_image", lambda model, crops: len(crops) > 10)
    short_memory(kind, "encode_text", lambda model, tokens: len(tokens) > 30)
    teacher = OpenClipTeacher(options)
    assert torch.allclose(teacher.embed_image(color), expected, atol=2e-3)
    assert torch.allclose(encode_texts(load_clip(*folder), texts), words, atol=1e-4)
    said = [record.getMessage() for record in caplog.records]
    assert "16 instead of 32 crops of an image for CLIP" in said[0] and "teacher.device" in said[0]
    assert "8 instead of 16 crops" in said[1] and "25 instead of 50 texts for CLIP" in said[2]
    teacher.embed_image(color[::-1].copy())
    assert len(caplog.records) == 3


def test_an_image_that_does_not_fit_is_named(tiny, color, short_memory):
    teacher = OpenClipTeacher(config(tiny[0], dense="crops", crop_shrink=2))
    kind = type(tiny[1])
    short_memory(kind, "encode_image", lambda model, crops: True)
    with pytest.raises(ValueError, match=r"for 1 crops of an image for CLIP.*teacher\.device to c"):
        teacher.embed_image(color)
    with pytest.raises(ValueError, match="for CLIP on an image of 128x96, got: CUDA out of memory"):
        teacher.recognise(color, ["chair"])
    short_memory(clip_teacher, "patch_features", 1)
    with pytest.raises(ValueError, match="for CLIP on an image of 128x96"):
        OpenClipTeacher(config(tiny[0], dense="patches")).embed_image(color)
