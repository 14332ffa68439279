"""Which topics are taken from recordings of common cameras."""

import pytest

from semantic_field.data.bag_topics import detect_topics, info_of, is_rectified
from semantic_field.data.bag_types import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE, LABEL_INFO_TYPE, TF

REALSENSE = {
    "/camera/color/image_raw": IMAGE,
    "/camera/color/image_raw/compressed": COMPRESSED_IMAGE,
    "/camera/color/camera_info": CAMERA_INFO,
    "/camera/depth/image_rect_raw": IMAGE,
    "/camera/depth/camera_info": CAMERA_INFO,
    "/camera/aligned_depth_to_color/image_raw": IMAGE,
    "/camera/aligned_depth_to_color/camera_info": CAMERA_INFO,
    "/camera/infra1/image_rect_raw": IMAGE,
    "/camera/infra1/camera_info": CAMERA_INFO,
    "/tf": TF,
    "/tf_static": TF,
}


def test_realsense():
    topics = detect_topics(REALSENSE, {})
    assert topics.color == "/camera/color/image_raw"
    assert topics.depth == "/camera/aligned_depth_to_color/image_raw"
    assert topics.color_info == "/camera/color/camera_info"
    assert topics.depth_info == "/camera/aligned_depth_to_color/camera_info"
    assert topics.labels == "" and set(topics.tf) == {"/tf", "/tf_static"}


# Image topics of drivers with all their streams on; the pair to be found comes first.
CAMERAS = {
    "realsense, new names": (
        "/camera/camera/color/image_raw",
        "/camera/camera/aligned_depth_to_color/image_raw",
        "/camera/camera/depth/image_rect_raw",
        "/camera/camera/infra1/image_rect_raw",
        "/camera/camera/infra2/image_rect_raw",
    ),
    "oak-d": (
        "/oak/rgb/image_raw",
        "/oak/stereo/image_raw",
        "/oak/left/image_raw",
        "/oak/right/image_raw",
    ),
    "azure kinect": (
        "/rgb/image_raw",
        "/depth_to_rgb/image_raw",
        "/depth/image_raw",
        "/rgb_to_depth/image_raw",
        "/ir/image_raw",
    ),
    "zed": (
        "/zed/zed_node/rgb/image_rect_color",
        "/zed/zed_node/depth/depth_registered",
        "/zed/zed_node/rgb_raw/image_raw_color",
        "/zed/zed_node/left/image_rect_color",
        "/zed/zed_node/left_raw/image_raw_color",
        "/zed/zed_node/right/image_rect_color",
        "/zed/zed_node/stereo/image_rect_color",
        "/zed/zed_node/confidence/confidence_map",
        "/zed/zed_node/disparity/disparity_image",
    ),
    "zed, new names": (
        "/zed/zed_node/rgb/color/rect/image",
        "/zed/zed_node/depth/depth_registered",
        "/zed/zed_node/rgb/color/raw/image",
        "/zed/zed_node/left/color/rect/image",
        "/zed/zed_node/rgb/gray/rect/image",
    ),
    "orbbec": (
        "/camera/color/image_raw",
        "/camera/depth/image_raw",
        "/camera/ir/image_raw",
        "/camera/left_ir/image_raw",
    ),
    "kinect": (
        "/camera/rgb/image_rect_color",
        "/camera/depth_registered/image_raw",
        "/camera/depth/image_raw",
        "/camera/ir/image",
    ),
}


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize("compressed", [False, True])
def test_cameras_are_found_unasked(name, compressed, caplog):
    color, depth, *others = CAMERAS[name]
    types = dict.fromkeys((color, depth, *others), IMAGE)
    types |= {f"{topic.rpartition('/')[0]}/camera_info": CAMERA_INFO for topic in list(types)}
    if compressed:  # beside the raw images
        types |= {f"{color}/compressed": COMPRESSED_IMAGE}
        types |= {f"{depth}/compressedDepth": COMPRESSED_IMAGE}
    topics = detect_topics(types, {})
    assert (topics.color, topics.depth) == (color, depth)
    assert topics.color_info == f"{color.rpartition('/')[0]}/camera_info"
    assert topics.labels == "" and caplog.records == []


def test_only_compressed_images_with_labels():
    topics = detect_topics(
        {
            "/rgbd/rgb/image_raw/compressed": COMPRESSED_IMAGE,
            "/rgbd/rgb/camera_info": CAMERA_INFO,
            "/rgbd/depth_registered/image_raw/compressedDepth": COMPRESSED_IMAGE,
            "/rgbd/semantic/image": IMAGE,
            "/rgbd/semantic/label_info": LABEL_INFO_TYPE,
        },
        {},
    )
    assert topics.color == "/rgbd/rgb/image_raw/compressed"
    assert topics.color_info == "/rgbd/rgb/camera_info"
    assert topics.depth == "/rgbd/depth_registered/image_raw/compressedDepth"
    assert topics.labels == "/rgbd/semantic/image"
    assert topics.label_info == "/rgbd/semantic/label_info"


def test_of_two_cameras_one_is_taken_and_named(caplog):
    types = {}
    for side in ("front", "rear"):
        types |= {
            f"/{side}/color/image_raw": IMAGE,
            f"/{side}/color/camera_info": CAMERA_INFO,
            f"/{side}/depth/image_raw": IMAGE,
        }
    topics = detect_topics(types, {})
    assert topics.color == "/front/color/image_raw" and topics.depth == "/front/depth/image_raw"
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "/front/color/image_raw and /front/depth/image_raw are taken" in warning
    assert "/rear/color/image_raw" in warning and "--color-topic" in warning
    topics = detect_topics(types, {"color": "/rear/color/image_raw"})
    assert topics.depth == "/rear/depth/image_raw"


def test_what_is_missing_is_named_with_its_option():
    with pytest.raises(ValueError, match=r"--depth-topic; topics found: .*/camera/color/image_raw"):
        detect_topics({t: k for t, k in REALSENSE.items() if "depth" not in t}, {})
    with pytest.raises(ValueError, match="--color-info-topic"):
        detect_topics({t: k for t, k in REALSENSE.items() if k != CAMERA_INFO}, {})
    with pytest.raises(ValueError, match="'/typo'"):
        detect_topics(REALSENSE, {"color": "/typo"})


def test_camera_info_beside_an_image():
    infos = ["/a/camera_info", "/a/color/camera_info"]
    assert info_of("/a/color/image_raw/compressed", infos) == "/a/color/camera_info"
    assert info_of("/b/image", infos) == ""
    assert info_of("/b/image", ["/only/camera_info"]) == "/only/camera_info"


def test_rectified_by_name():
    assert is_rectified("/camera/rgb/image_rect_color") and is_rectified("/left/image_rect")
    assert not is_rectified("/camera/color/image_raw") and not is_rectified("/direct/image")
