"""All settings and their defaults, as frozen nested dataclasses.

Settings may be changed while a node runs unless they are marked as fixed, with the reason; see
``settings`` for what an option is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from semantic_field.settings import Settings, flattened, option, switch, updated, walk

# Reasons why settings are fixed while a node runs.
MAP = "the map is made with it"
START = "it is read at start"
KEYFRAMES = "the keyframes in memory are made with it"


@dataclass(frozen=True)
class GridConfig(Settings, fixed=MAP):
    """The hash grid."""

    levels: int = option(8, "number of resolutions", 1, 32)
    features: int = option(4, "features stored per cell and level", 1, 8)
    log2_table_size: int = option(19, "log2 of the maximum table entries per level", 8, 24)
    coarsest_cell_m: float = option(0.64, "edge of a cell of the coarsest level, metres", 0.01)
    finest_cell_m: float = option(
        0.014, "edge of a cell of the finest level, metres", 0.001, at_most="coarsest_cell_m"
    )
    kernels: str = option(
        "auto",
        "implementation of the grid kernels",
        choices=("auto", "reference", "cpu", "cuda", "tcnn"),
    )
    tcnn_extent_m: float = option(
        64.0, "edge of the cube around the map's origin that the kernels 'tcnn' cover, metres", 0.1
    )


@dataclass(frozen=True)
class FieldConfig(Settings, fixed=MAP):
    """The semantic field: networks, truncation and voxels."""

    grid: GridConfig = dataclasses.field(default_factory=GridConfig)
    hidden_dim: int = option(32, "width of the hidden layers", 8, 256)
    geometry_dim: int = option(31, "length of the geometry code handed to the heads", 1, 64)
    latent_dim: int = option(64, "length D of the semantic latent", 4, 512)
    truncation_m: float = option(0.025, "truncation of the signed distance, metres", 0.005, 1.0)
    sharpness_m: float = option(
        0.01,
        "half width of the compositing weights around a surface, metres",
        0.001,
        1.0,
        at_most="truncation_m",
    )
    voxel_m: float = option(0.04, "edge of a voxel of the observed space, metres", 0.005, 0.5)


@dataclass(frozen=True)
class MappingConfig(Settings):
    """Keyframes, losses and the training schedule."""

    seed: int = option(0, "seed of all random numbers", 0, fixed=START)
    device: str = option(
        "auto",
        "where to train; auto = on a GPU if there is one",
        choices=("auto", "cpu", "cuda"),
        fixed=START,
    )
    threads: int = option(
        2, "processor threads for training", 1, 256, fixed="the kernels are made for it"
    )
    rays_per_step: int = option(
        2048, "rays of one training step", 64, 1 << 20, fixed="memory for the rays is made for it"
    )
    max_speed_mps: float = option(
        10.0,
        "faster camera motion is rejected as a wrong pose unless three frames agree, m/s; 0 = off",
        0.0,
    )
    contour_share: float = option(
        0.3, "share of the rays drawn next to depth discontinuities", 0.0, 1.0
    )
    near_samples: int = option(4, "samples of a ray around the sensor's depth", 1, 256)
    free_samples: int = option(3, "samples of a ray in front of the sensor's depth", 1, 256)
    learning_rate: float = option(5e-2, "initial learning rate of the grid", 1e-6, 1.0)
    network_rate: float = option(0.2, "learning rate of the networks, times the grid's", 0.0, 10.0)
    decay_rays: float = option(1e4, "rays per keyframe after which learning rates are halved", 1.0)
    color_weight: float = option(100.0, "weight of the colour loss", 0.0)
    depth_weight: float = option(1.0, "weight of the rendered-depth loss", 0.0)
    distance_weight: float = option(10.0, "weight of the signed-distance loss", 0.0)
    free_space_weight: float = option(10.0, "weight of the free-space loss", 0.0)
    label_weight: float = option(1.0, "weight of the label cross-entropy", 0.0)
    language_weight: float = option(1.0, "weight of the language loss", 0.0)
    labelled_share: float = option(
        0.25, "share of the rays drawn from labelled pixels, if there are any", 0.0, 1.0
    )
    class_balance: float = option(
        0.5, "of those: 0 = by the frequency of classes, 1 = all classes equally often", 0.0, 1.0
    )
    vote_on_noise: bool = option(
        True, "clean noisy label images by a majority vote among neighbouring pixels"
    )
    stream_label_weight: float = option(
        1.0, "weight of label and language losses where labels come from label images", 0.0
    )
    annotation_weight: float = option(
        4.0, "weight of label and language losses where labels come from a person", 0.0
    )
    annotation_share: float = option(
        0.5, "share of the rays through a fresh annotation and its surroundings", 0.0, 1.0
    )
    annotation_rays: float = option(
        250_000.0, "number of training rays during which an annotation counts as fresh", 0.0
    )
    annotation_cell_m: float = option(
        0.02,
        "edge of the voxels in which annotations are stored, metres",
        0.005,
        0.2,
        fixed=MAP,
    )
    labels_shape_geometry: bool = option(True, "let label gradients flow into the geometry")
    color_shapes_geometry: bool = option(
        True, "let colour gradients flow into the compositing weights"
    )
    guess_trust: float = option(
        0.1, "weight of depths that were filled in for missing readings", 0.0, 1.0
    )
    min_depth_m: float = option(
        0.1,
        "nearer depth readings are not used, metres; applies to later images",
        0.0,
        at_most="max_depth_m",
    )
    max_depth_m: float = option(
        20.0, "farther depth readings are not used, metres; applies to later images", 0.1
    )
    max_image_width: int = option(
        640, "wider images are resized to this width, pixels", 32, fixed=KEYFRAMES
    )
    keyframe_translation_m: float = option(
        0.03, "translation after which a frame becomes a new keyframe, metres", 0.0
    )
    keyframe_rotation_rad: float = option(
        0.06, "rotation after which a frame becomes a new keyframe, radians", 0.0
    )
    depth_noise: float = option(
        0.0,
        "standard deviation of depth at 1 m, metres, growing with the square of the depth "
        "(Kinect: 0.002); noisier readings get a lower weight; 0 = off",
        0.0,
        0.1,
    )
    drop_veils: bool = option(
        False,
        "drop flying pixels: depth readings between foreground and background",
        fixed=KEYFRAMES,
    )
    appearance: str = option(
        "views",
        "what rendered views show: the images of the keyframes on the field's surface (views), or "
        "the field's own colours and labels (field)",
        choices=("views", "field"),
    )
    replay_by_error: float = option(
        0.0, "share of the rays drawn from keyframes in proportion to their loss", 0.0, 1.0
    )
    forget_moved: bool = option(
        True,
        "remove surfaces that later images see through, and down-weight moving objects",
        fixed=START,
    )
    refine_poses: str = switch(
        "auto",
        "optimise small corrections of keyframe poses; auto = once the keyframes show that their "
        "poses need it",
        fixed=START,
    )
    pose_rate: float = option(5e-4, "learning rate of pose corrections, metres and radians", 0.0)
    pose_max_shift_m: float = option(0.03, "largest correction of a position, metres", 0.0)
    pose_max_turn_deg: float = option(1.0, "largest correction of an orientation, degrees", 0.0)
    adapt_exposure: str = switch(
        "auto",
        "optimise a gain and bias of the colours of each keyframe; auto = once the keyframes show "
        "that their exposures differ",
        fixed=START,
    )
    memory_budget_mb: int = option(
        900,
        "memory limit of keyframes, grid and voxels together, MiB",
        16,
        fixed="the keyframes' memory is reserved for it",
    )
    vertices_per_entry: float = option(
        1.0, "grid vertices in mapped space per table entry at which a level's table doubles", 0.01
    )


@dataclass(frozen=True)
class TeacherConfig(Settings, fixed="the teachers are made with it"):
    """The frozen models that embed texts and images, and propose regions."""

    kind: str = option(
        "label_text",
        "the language teacher",
        choices=("label_text", "vocabulary", "open_clip", "simulated", "none"),
    )
    path: str = option(
        "",
        "local checkpoint or feature file of the language teacher, if it needs one; for "
        "open_clip a .pt, .bin or .safetensors file, or a folder with one",
    )
    architecture: str = option(
        "ViT-B-16", "open_clip's name of the checkpoint's architecture, or a JSON file of one"
    )
    dense: str = option(
        "patches",
        "how dense image embeddings are computed: one pass over all patches, one pass for each of "
        "many overlapping crops at several scales, or only read from the store",
        choices=("patches", "crops", "store"),
    )
    crop_divisors: tuple = option(
        (5, 7, 10), "for each scale: a crop's side is the image's shorter side divided by this"
    )
    crop_shrink: int = option(8, "factor by which images are downsampled before cropping", 1, 64)
    prompts: str = option(
        "single",
        "embedding of a text: of the text itself, or averaged over 85 prompt templates",
        choices=("single", "average"),
    )
    store: str = option("", "folder where teachers' image features are stored; empty = none")
    regions: str = option(
        "depth",
        "region proposals in images: by colour and depth, or by SAM",
        choices=("depth", "sam", "none"),
    )
    regions_path: str = option("", "folder of the SAM or SAM 2 checkpoint (transformers' format)")
    dino_path: str = option(
        "", "folder of a DINO, DINOv2 or DINOv3 checkpoint (transformers' format); empty = none"
    )
    dino_rows: int = option(32, "patches along the shorter side of DINO's input image", 1, 512)
    device: str = option("auto", "where teachers run", choices=("auto", "cpu", "cuda"))
    threads: int = option(1, "processor threads of the image teachers", 1, 256)

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.crop_divisors, default=0) < 1:
            raise ValueError(
                "expected TeacherConfig.crop_divisors to be whole numbers from 1 on, one at "
                f"least, got {self.crop_divisors!r}: set teacher.crop_divisors to (5, 7, 10)"
            )


@dataclass(frozen=True)
class LanguageConfig(Settings, fixed="labels in memory are made with it"):
    """Training of the language latent, from labels or images (see docs/open_vocabulary.md)."""

    source: str = option(
        "labels",
        "source of language supervision: class names of labels, or dense image embeddings",
        choices=("labels", "images"),
    )
    vocabulary: tuple = option(
        ("",),
        "texts that the map learns to distinguish; empty = the label names, or if there are none "
        "the names of common household objects",
        fixed="",
    )
    feature_weight: float = option(1.0, "weight of the teacher's feature loss", 0.0, fixed="")
    select_scales: bool = option(True, "learn which feature scale to use for each ray")
    relevancy_weight: float = option(
        4.0, "weight of the cross-entropy over the vocabulary", 0.0, fixed=""
    )
    relevancy_temperature: float = option(
        0.05, "softmax temperature of its cosines; 0 = dot products, as in OV-NeRF's code", 0.0
    )
    vote_temperature: float = option(
        0.02, "softmax temperature of cosines when regions vote", 1e-3, fixed=""
    )
    ranking: str = option(
        "mended",
        "region ranking (RSR): with a region's context subtracted, or as in OV-NeRF's code",
        choices=("mended", "released"),
    )
    rank_teacher: bool = option(True, "let regions vote on the teacher's classes (RSR)")
    unlabelled: str = option(
        "", "text for pixels without a region in the released ranking; empty = left out"
    )
    self_enhancement: bool = option(True, "train on pseudo-labels from the map itself (CSE)")
    enhancement: str = option(
        "surface",
        "what gets pseudo-labels: segments of the surface, or rendered views as in OV-NeRF",
        choices=("surface", "views"),
    )
    enhance_from: int = option(400, "training step of the first pseudo-labels (T)", 0)
    enhance_every: int = option(150, "training steps between later pseudo-labels (N)", 1)
    enhance_per_step: int = option(
        2,
        "pending views that get pseudo-labels before each training step; 0 = all at once",
        0,
        fixed="",
    )
    novel_views: int = option(60, "number of rendered views from novel poses", 0)
    novel_poses: str = option(
        "trajectory",
        "novel poses: near the recorded ones, or a camera rotating in place as in OV-NeRF's code",
        choices=("trajectory", "circle"),
    )
    novel_rays: int = option(
        512, "pseudo-labelled surface points or rays of novel poses per training step", 0, fixed=""
    )
    novel_width: int = option(160, "width of views from novel poses, pixels", 16)
    label_width: int = option(320, "width of pseudo-label images, pixels", 16)
    fda_positive_weight: float = option(
        200.0, "weight of similar outputs at pixels with similar DINO features", 0.0, fixed=""
    )
    fda_negative_weight: float = option(
        0.2, "weight of different outputs at pixels with different DINO features", 0.0, fixed=""
    )
    fda_every: int = option(4, "training steps between two patches of that loss", 1, fixed="")
    fda_side: int = option(16, "rays along one side of such a patch", 2, 64, fixed="")
    fda_spacing: int = option(8, "pixels between those rays", 1, fixed="")

    @property
    def texts(self) -> list[str]:
        """The vocabulary, stripped, without empty texts."""
        return [text.strip() for text in self.vocabulary if text.strip()]


@dataclass(frozen=True)
class QueryConfig(Settings):
    """Queries: relevancy, hits, navigation goals."""

    negatives: tuple = option(
        ("object", "things", "stuff", "texture"),
        "texts that a relevant point must be less similar to",
    )
    threshold: float = option(0.5, "least relevancy of a hit's points", 0.01, 1.0)
    max_hits: int = option(10, "largest number of hits of one answer", 1, 1000)
    voxel_m: float = option(0.03, "spacing of the surface points, metres", 0.005, 0.5)
    min_hit_points: int = option(30, "least number of surface points of a hit", 1)
    standoff_m: float = option(0.6, "distance of the goal pose from the object's edge, metres", 0.0)
    robot_radius_m: float = option(0.25, "free space needed around a goal pose, metres", 0.0)
    robot_height_m: float = option(1.2, "things above this height are no obstacles, metres", 0.05)
    up: str = option(
        "+z",
        "axis of the map's frame that points up; +z by REP-103",
        choices=("+z", "-z", "+y", "-y", "+x", "-x"),
    )


@dataclass(frozen=True)
class InputConfig(Settings):
    """Assembly of frames from camera topics and poses."""

    global_frame: str = option(
        "map", "frame the map is built in; gravity is along its -z", fixed=MAP
    )
    pose_source: str = option(
        "tf",
        "where the camera pose comes from: TF at the image stamp, or the pose / odometry topic",
        choices=("tf", "pose", "odometry"),
        fixed="the subscriptions are made with it",
    )
    pose_frame: str = option(
        "",
        "frame whose pose a PoseStamped gives (and an Odometry without child_frame_id); TF must "
        "connect it to the camera; empty = the optical frame",
        fixed="the subscriptions are made with it",
    )
    tf_timeout_s: float = option(0.5, "how long a frame waits for its transform, seconds", 0.0)
    sync_slop_s: float = option(
        0.03, "largest stamp difference of one frame's images, seconds", 1e-4
    )
    sync_queue: int = option(10, "images kept while waiting for their partner", 1)
    label_timeout_s: float = option(
        1.0, "how long a frame waits for its label image where labels are published, seconds", 0.0
    )
    depth_info_timeout_s: float = option(
        1.0,
        "how long the first frames wait for depth's CameraInfo, which tells whether depth is "
        "registered to colour, seconds; some drivers publish none",
        0.0,
    )
    camera_info_timeout_s: float = option(
        5.0, "warn if no CameraInfo has arrived after this time, seconds", 0.1
    )
    input_qos: str = option(
        "sensor_data",
        "reliability of the image subscriptions (sensor_data is best effort)",
        choices=("sensor_data", "reliable"),
        fixed="the subscriptions are made with it",
    )
    color_transport: str = option(
        "raw",
        "transport of colour",
        choices=("raw", "compressed"),
        fixed="the subscriptions are made with it",
    )
    depth_transport: str = option(
        "raw",
        "transport of depth",
        choices=("raw", "compressed", "compressedDepth"),
        fixed="the subscriptions are made with it",
    )
    rectified: bool = option(
        False,
        "whether the images are rectified: then P of CameraInfo is used and its distortion "
        "ignored; colour topics named image_rect… are always taken as rectified",
        fixed=START,
    )
    max_pending: int = option(30, "largest number of frames waiting for a transform or labels", 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        frame = self.global_frame.lstrip("/")  # as tf2 and the bag readers do
        if not frame:
            raise ValueError("expected input.global_frame to name a frame, got none: set it to map")
        object.__setattr__(self, "global_frame", frame)


@dataclass(frozen=True)
class MappingNodeConfig(Settings):
    """The mapping node: inputs, map file, publishing periods."""

    input: InputConfig = dataclasses.field(default_factory=InputConfig)
    autostart: bool = option(
        True, "configure and activate at start, without a lifecycle manager", fixed=START
    )
    map_path: str = option(
        "",
        "file for save_map and load_map if the request names none; "
        "empty = $ROS_HOME/semantic_field/map.safetensors",
    )
    load_map_at_start: bool = option(False, "load map_path at start and continue it", fixed=START)
    save_map_at_shutdown: bool = option(True, "write map_path when the node stops")
    autosave_period_s: float = option(
        120.0, "period of writing map_path while mapping, seconds; 0 = never", 0.0
    )
    status_period_s: float = option(1.0, "period of status messages, seconds", 0.05)
    snapshot_period_s: float = option(2.0, "shortest period of map snapshots, seconds", 0.1)
    cloud_period_s: float = option(5.0, "shortest period of semantic clouds, seconds", 0.1)
    view_period_s: float = option(
        1.0, "shortest period of rendered views of the current camera, seconds", 0.05
    )
    annotation_name: str = option(
        "", "class of clicks and boxes without a name; annotate/name changes it"
    )
    view_width: int = option(320, "width of the published views, pixels", 16)


@dataclass(frozen=True)
class InferenceConfig(Settings):
    """The inference node: views at virtual cameras from the last frames, without training."""

    input: InputConfig = dataclasses.field(default_factory=InputConfig)
    autostart: bool = option(
        True, "configure and activate at start, without a lifecycle manager", fixed=START
    )
    weights: str = option(
        "gsnerf", "name of weights that come with the package, or a file of your own", fixed=START
    )
    device: str = option(
        "auto",
        "where the model runs; auto = on a GPU if there is one",
        choices=("auto", "cpu", "cuda"),
        fixed=START,
    )
    views: int = option(
        8,
        "frames that a view is made of (K); there is no view before so many have come",
        1,
        64,
        at_most="pool_frames",
    )
    samples: int = option(
        0, "samples of each ray (N); 0 = as many as the model was trained with", 0, 128
    )
    rule: str = option(
        "coverage",
        "how these frames are chosen: those that together show most of the view, or the nearest",
        choices=("coverage", "nearest"),
    )
    depth: str = option(
        "sensor",
        "depth of the frames: the camera's, its holes filled in; found by matching colours alone; "
        "or rendered from the newest snapshot of a mapping node where it has a surface",
        choices=("sensor", "volume", "map"),
        fixed="the frames in memory have it",
    )
    fill: str = option(
        "z_buffer",
        "how the depth of a view is found: nearest surface first with holes filled, or as in "
        "GSNeRF's code",
        choices=("z_buffer", "released"),
    )
    pool_frames: int = option(
        32, "largest number of frames in memory", 1, 512, fixed="memory is bounded by it"
    )
    image_width: int = option(
        320, "wider frames are resized to this width, pixels", 32, 4096, fixed="frames are kept so"
    )
    frame_translation_m: float = option(
        0.05, "a frame is kept if it is that far from all others, metres", 0.0
    )
    frame_rotation_rad: float = option(
        0.1, "or turned by that much against all that are nearer, radians", 0.0
    )
    late_frames: int = option(
        90, "newest images whose labels may still come (3 s at 30 Hz)", 1, 1000, fixed=START
    )
    label_patience_s: float = option(
        5.0,
        "how long after the last label image only frames with labels are kept, seconds: frames "
        "without do not know what anything is",
        0.0,
    )
    follow: str = option(
        "none",
        "camera: render at the pose of each image as well, so that labels come at its rate",
        choices=("none", "camera"),
    )
    follow_rate_hz: float = option(30.0, "largest rate of these views, Hz", 0.01, 1000.0)
    view_frame: str = option(
        "", "TF frame of a virtual camera (an optical frame) to render from; empty = none"
    )
    view_rate_hz: float = option(
        5.0, "largest rate of views from the topic inference/pose or that frame, Hz", 0.01, 1000.0
    )
    view_width: int = option(320, "width of the virtual camera, pixels", 16, 4096)
    view_height: int = option(240, "height of the virtual camera, pixels", 16, 4096)
    view_field_of_view_rad: float = option(
        1.1, "horizontal field of view of the virtual camera, radians", 0.05, 3.0
    )
    camera_frame: str = option(
        "inference_camera", "frame of views and clouds, broadcast on TF", fixed=START
    )
    least_confidence: float = option(
        0.5, "pixels whose label is less probable than that become void", 0.0, 1.0
    )
    cloud_pixels: int = option(1, "every n-th pixel and row makes a point of the cloud", 1, 64)
    status_period_s: float = option(1.0, "period of the diagnostics, seconds", 0.05)


@dataclass(frozen=True)
class CompletionConfig(Settings):
    """Completion of hits to whole objects with parts."""

    priors: str = option(
        "",
        "folder of the priors of objects (.safetensors); empty = those of the package",
        fixed=START,
    )
    views: int = option(
        4, "images of the map that a completion looks at; 0 = the object's points alone", 0, 64
    )
    view_pixels: int = option(112, "longer side of the crops of these images, pixels", 16, 1024)
    rest_s: float = option(
        15.0,
        "longest time that the training of a mapping node rests while an object is completed, "
        "seconds; 0 = it does not rest",
        0.0,
        60.0,
    )
    answer_parts: bool = option(
        True,
        "complete a thing when a text asks for a part of it ('the handle of the mug')",
        fixed=START,
    )


@dataclass(frozen=True)
class QueryNodeConfig(Settings):
    """The query node."""

    completion: CompletionConfig = dataclasses.field(default_factory=CompletionConfig)

    refresh: bool = option(True, "repeat the last query when the map has changed")
    refresh_period_s: float = option(3.0, "shortest period of repeated queries, seconds", 0.1)


@dataclass(frozen=True)
class SourceConfig(Settings, fixed=START):
    """How a recording is read. Empty, 0 and auto: detected from the recording."""

    color_topic: str = option("", "a bag's topic of colour images")
    depth_topic: str = option("", "a bag's topic of depth images")
    labels_topic: str = option("", "a bag's topic of label images")
    color_info_topic: str = option("", "a bag's CameraInfo topic of the colour camera")
    pose_topic: str = option("", "a bag's topic of camera poses (PoseStamped)")
    odometry_topic: str = option("", "a bag's topic of odometry")
    tf_topic: str = option("", "a bag's TF topic, if several robots have their own")
    camera_frame: str = option("", "optical frame of the colour camera, replaces frame_id in a bag")
    pose_source: str = option(
        "auto", "source of poses in a bag", choices=("auto", "tf", "pose", "odometry")
    )
    global_frame: str = option("", "fixed frame of the poses in a bag")
    slop: float = option(0.03, "largest stamp difference of a frame's images in a bag, s", 0.0)
    camera: str = option("", "intrinsics FX,FY,CX,CY,W,H of undistorted images, pixels")
    depth_scale: float = option(0.0, "metres per unit of the depth images", 0.0)
    register: str = option(
        "auto",
        "true reprojects depth of another camera to colour, false uses it unchanged",
        choices=("auto", "true", "false"),
    )

    @classmethod
    def of_texts(cls, texts: Mapping[str, str]) -> SourceConfig:
        """Build the settings from texts, given by option name; ValueError on a bad value."""
        kinds = {name: type(value) for name, _, value in walk(cls())}
        return updated(cls(), {name: kinds[name](text) for name, text in texts.items()})

    def options(self) -> dict[str, Any]:
        """Return the options that differ from the defaults, as arguments of ``open_source``."""
        given = {n: v for n, item, v in walk(self) if v != item.default}
        if "slop" in given:
            given["slop_s"] = given.pop("slop")
        if "register" in given:
            given["register"] = self.register == "true"
        return given

    @property
    def changes_images(self) -> bool:
        """Whether the settings change images or intrinsics, not only the choice of topics."""
        return bool(self.camera or self.depth_scale or self.register == "true")


@dataclass(frozen=True)
class ReplayNodeConfig(Settings):
    """The replay node, which publishes a recording as live topics."""

    input: str = option("room", "folder, rosbag2, or room[:seed=3,frames=60]", fixed=START)
    source: SourceConfig = dataclasses.field(default_factory=SourceConfig)
    rate: float = option(1.0, "speed of the replay; 2 = twice as fast as recorded", 0.01, 1000.0)
    frame_rate_hz: float = option(
        5.0, "frames per second of a recording without stamps", 0.1, fixed=START
    )
    loop: bool = option(False, "start again at the end")
    step: bool = option(False, "publish one frame for each call of the service ~/step", fixed=START)
    publish_clock: bool = option(True, "publish /clock", fixed=START)
    wait_for_subscriber_s: float = option(
        20.0, "longest wait for a subscriber, seconds", 0.0, fixed=START
    )
    wait_for_mapping: bool = option(
        False, "also wait until the status of a mapping node is mapping", fixed=START
    )
    exit_when_done: bool = option(False, "exit when the recording has ended")
    global_frame: str = option("map", "parent frame of the published poses", fixed=START)
    camera_frame: str = option(
        "camera_color_optical_frame", "frame of the published images", fixed=START
    )
    protocol: str = option(
        "",
        "evaluation protocol whose held-out frames are published on held_out/ topics; empty = none",
        fixed=START,
    )


@dataclass(frozen=True)
class ScorerNodeConfig(Settings):
    """The scorer node, which scores a live run and writes a report."""

    input: InputConfig = dataclasses.field(default_factory=InputConfig)
    source: SourceConfig = dataclasses.field(default_factory=SourceConfig)
    recording: str = option(
        "room", "the replayed recording, whose depth and labels are the ground truth", fixed=START
    )
    protocol: str = option("online", "name or YAML file of the protocol", fixed=START)
    out: str = option("evaluation", "folder of the report", fixed=START)
    settle_s: float = option(15.0, "longest wait for the last map snapshot, seconds", 0.0)


@dataclass(frozen=True)
class Config(Settings):
    """All settings of the library."""

    field: FieldConfig = dataclasses.field(default_factory=FieldConfig)
    mapping: MappingConfig = dataclasses.field(default_factory=MappingConfig)
    teacher: TeacherConfig = dataclasses.field(default_factory=TeacherConfig)
    language: LanguageConfig = dataclasses.field(default_factory=LanguageConfig)
    query: QueryConfig = dataclasses.field(default_factory=QueryConfig)


def load_config(path: str | Path, base: Config | None = None) -> Config:
    """Return ``base`` (or the defaults) with the values of a YAML file replaced.

    Raises:
        ValueError: if the file is no mapping, on an unknown name or a bad value.
    """
    content = yaml.safe_load(Path(path).read_text()) or {}
    if not isinstance(content, dict):
        raise ValueError(f"expected a YAML mapping of settings in {path}, got {content!r}")
    return updated(base or Config(), dict(flattened(content)))
