"""All settings and their defaults, as frozen nested dataclasses.

``option`` gives a setting its default, its sentence of documentation and its range; the same
record is what a ROS parameter's descriptor is made of (``mapping.rays_per_step`` and so on).
Settings may change while a node runs unless they say why they are fixed.
"""

from __future__ import annotations

import dataclasses
import math
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml


def option(
    default: Any,
    doc: str,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    fixed: str | None = None,
    at_most: str = "",
) -> Any:
    """A dataclass field with documentation and limits (inclusive).

    ``fixed`` says why it cannot change while a node runs, "" that it can; None leaves that to its
    class. ``at_most`` names another option of the class that this one must not exceed.
    """
    about = {"doc": doc, "minimum": minimum, "maximum": maximum, "choices": choices, "fixed": fixed}
    return dataclasses.field(default=default, metadata=about | {"at_most": at_most})


class Settings:
    """Base of the settings: checks every option against its type, range and choices.

    ``class X(Settings, fixed="why")`` makes all its options fixed that do not say otherwise.
    """

    def __init_subclass__(cls, fixed: str = "") -> None:
        for item in vars(cls).values():
            if isinstance(item, dataclasses.Field) and item.metadata.get("fixed", "") is None:
                item.metadata = MappingProxyType({**item.metadata, "fixed": fixed})

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            if "doc" in item.metadata:
                _check(type(self).__name__, item, getattr(self, item.name))
        for item in fields(self):  # type: ignore[arg-type]
            if item.metadata.get("at_most"):
                _check_order(self, item.name, item.metadata["at_most"])


def _check(owner: str, item: dataclasses.Field, value: Any) -> None:
    where, meta = f"{owner}.{item.name}", item.metadata
    if not _is_like(item.default, value):
        raise ValueError(f"expected {where} to be {kind_of(item)}, got {value!r}: {meta['doc']}")
    low, high = meta["minimum"], meta["maximum"]
    if (low is not None and value < low) or (high is not None and value > high):
        raise ValueError(f"expected {where} {limits_of(item)}, got {value}: {meta['doc']}")
    if meta["choices"] and value not in meta["choices"]:
        raise ValueError(f"expected {where} to be {limits_of(item)}, got {value!r}")


def _check_order(settings: Settings, low: str, high: str) -> None:
    least, most, owner = getattr(settings, low), getattr(settings, high), type(settings).__name__
    if least > most:
        raise ValueError(
            f"expected {owner}.{low} to be at most {high}, got {low} {least} and {high} {most}: "
            f"lower {low} or raise {high}"
        )


def _is_like(default: Any, value: Any) -> bool:
    """Whether a value may stand where ``default`` does: whole numbers may for decimal ones."""
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(_is_like(default[0], entry) for entry in value)
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, type(default))


def kind_of(item: dataclasses.Field) -> str:
    """What an option's values are, in words."""
    words = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text"}
    if isinstance(item.default, tuple):
        return "a list of " + {int: "whole numbers", str: "texts"}[type(item.default[0])]
    return words[type(item.default)]


def limits_of(item: dataclasses.Field) -> str:
    """The limits of an option in words; empty where it has none."""
    low, high = item.metadata["minimum"], item.metadata["maximum"]
    if item.metadata["choices"]:
        return "one of " + ", ".join(item.metadata["choices"])
    if low is not None and high is not None:
        return f"from {low} to {high}"
    if low is not None:
        return f"at least {low}"
    return "" if high is None else f"at most {high}"


# Why settings are fixed while a node runs.
MAP = "the map is made with it"
START = "it is read at start"
KEYFRAMES = "the keyframes in memory are made with it"


@dataclass(frozen=True)
class GridConfig(Settings, fixed=MAP):
    """The hash grid."""

    levels: int = option(8, "number of resolutions", 1, 32)
    features: int = option(4, "features stored per cell and level", 1, 8)
    log2_table_size: int = option(19, "log2 of the most table entries per level", 8, 24)
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
    """The semantic field on top of the grid."""

    grid: GridConfig = dataclasses.field(default_factory=GridConfig)
    hidden_dim: int = option(32, "width of the hidden layers", 8, 256)
    geometry_dim: int = option(31, "length of the geometry code handed to the heads", 1, 64)
    latent_dim: int = option(64, "length D of the semantic latent", 4, 512)
    truncation_m: float = option(0.025, "truncation of the signed distance, metres", 0.005, 1.0)
    sharpness_m: float = option(
        0.01,
        "half width of a surface's weight along a ray, metres",
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
        "where to train; auto = a GPU where there is one",
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
        "a camera that seems faster has a wrong pose, until three frames agree; 0 = believe all",
        0.0,
    )
    contour_share: float = option(
        0.3, "share of the rays that is drawn beside jumps of the depth", 0.0, 1.0
    )
    near_samples: int = option(4, "samples of a ray around the sensor's depth", 1, 256)
    free_samples: int = option(3, "samples of a ray in front of the sensor's depth", 1, 256)
    learning_rate: float = option(5e-2, "initial learning rate of the grid", 1e-6, 1.0)
    network_rate: float = option(0.2, "learning rate of the networks, times the grid's", 0.0, 10.0)
    decay_rays: float = option(1e4, "rays per keyframe after which the rate is half of it", 1.0)
    color_weight: float = option(100.0, "weight of the colour loss", 0.0)
    depth_weight: float = option(1.0, "weight of the rendered-depth loss", 0.0)
    distance_weight: float = option(10.0, "weight of the signed-distance loss", 0.0)
    free_space_weight: float = option(10.0, "weight of the free-space loss", 0.0)
    label_weight: float = option(1.0, "weight of the label cross-entropy", 0.0)
    language_weight: float = option(1.0, "weight of the language loss", 0.0)
    labelled_share: float = option(
        0.25, "share of the rays that go to labelled pixels where there are any", 0.0, 1.0
    )
    class_balance: float = option(
        0.5, "of those: 0 = classes as frequent as they are, 1 = all classes alike", 0.0, 1.0
    )
    vote_on_noise: bool = option(
        True, "let pixels of noisy label images take a vote of their neighbours"
    )
    stream_label_weight: float = option(
        1.0, "weight of a ray's label and its language where the label image says so", 0.0
    )
    annotation_weight: float = option(
        4.0, "weight of a ray's label and its language where a person said so", 0.0
    )
    annotation_share: float = option(
        0.5, "share of the rays that look at a fresh annotation and what is beside it", 0.0, 1.0
    )
    annotation_rays: float = option(
        250_000.0, "rays of training for which an annotation counts as fresh", 0.0
    )
    annotation_cell_m: float = option(
        0.02,
        "edge of the cells of space that annotations are kept in, metres",
        0.005,
        0.2,
        fixed=MAP,
    )
    labels_shape_geometry: bool = option(True, "let given labels move the geometry")
    color_shapes_geometry: bool = option(True, "let colours move samples' weights along a ray")
    guess_trust: float = option(
        0.1, "weight of a depth that was filled in for a missing reading", 0.0, 1.0
    )
    min_depth_m: float = option(
        0.1,
        "readings of later images nearer than this are not used, metres",
        0.0,
        at_most="max_depth_m",
    )
    max_depth_m: float = option(
        20.0, "readings of later images farther than this are not used, metres", 0.1
    )
    max_image_width: int = option(
        640, "wider images are resized to this width, pixels", 32, fixed=KEYFRAMES
    )
    keyframe_translation_m: float = option(0.05, "a new keyframe after this motion, metres", 0.0)
    keyframe_rotation_rad: float = option(0.1, "a new keyframe after this turn, radians", 0.0)
    depth_noise: float = option(
        0.0,
        "standard deviation of a reading at 1 m, growing with the depth's square (a Kinect's: "
        "0.002), metres; noisier readings count less",
        0.0,
        0.1,
    )
    drop_veils: bool = option(
        False, "use no readings that hang between front and background", fixed=KEYFRAMES
    )
    replay_by_error: float = option(
        0.0, "share of the rays drawn from keyframes in proportion to their errors", 0.0, 1.0
    )
    forget_moved: bool = option(
        True,
        "forget surfaces that later images see through, and doubt what moves through a view",
        fixed=START,
    )
    refine_poses: bool = option(False, "correct small errors of the keyframes' poses", fixed=START)
    pose_rate: float = option(5e-4, "learning rate of pose corrections, metres and radians", 0.0)
    pose_max_shift_m: float = option(0.03, "largest correction of a position, metres", 0.0)
    pose_max_turn_deg: float = option(1.0, "largest correction of an orientation, degrees", 0.0)
    adapt_exposure: bool = option(
        False, "give each keyframe a gain and bias of its colours", fixed=START
    )
    memory_budget_mb: int = option(
        900,
        "limit of keyframes, grid and voxels together, MiB",
        16,
        fixed="the keyframes' memory is reserved for it",
    )
    vertices_per_entry: float = option(
        1.0, "vertices of mapped space for each entry of a level's table before it doubles", 0.01
    )


@dataclass(frozen=True)
class TeacherConfig(Settings, fixed="the teachers are made with it"):
    """The frozen model that gives text and images their embeddings."""

    kind: str = option(
        "label_text",
        "the language teacher",
        choices=("label_text", "vocabulary", "open_clip", "simulated", "none"),
    )
    path: str = option(
        "",
        "local checkpoint or features file of the language teacher, if it needs one; for "
        "open_clip a .pt, .bin or .safetensors file, or a folder with one",
    )
    architecture: str = option(
        "ViT-B-16", "open_clip's name of the checkpoint's architecture, or a JSON file of one"
    )
    dense: str = option(
        "patches",
        "how an image gets dense embeddings: one pass over all patches, a pass for each of many "
        "overlapping crops at several scales, or only what the store holds",
        choices=("patches", "crops", "store"),
    )
    crop_divisors: tuple = option(
        (5, 7, 10), "the shorter side of the image in crops, for each scale"
    )
    crop_shrink: int = option(8, "images are made smaller by this before they are cropped", 1, 64)
    prompts: str = option(
        "single",
        "a text as it is, or the mean over 85 sentences around it",
        choices=("single", "average"),
    )
    store: str = option("", "folder that keeps what teachers said of images; empty = none")
    regions: str = option(
        "depth",
        "which pixels of an image belong together: by colour and depth, or by SAM",
        choices=("depth", "sam", "none"),
    )
    regions_path: str = option("", "folder of the SAM or SAM 2 checkpoint (transformers' format)")
    dino_path: str = option(
        "", "folder of a DINO, DINOv2 or DINOv3 checkpoint (transformers' format); empty = none"
    )
    dino_rows: int = option(32, "patches along the shorter side of the image DINO sees", 1, 512)
    device: str = option("auto", "where teachers run", choices=("auto", "cpu", "cuda"))
    threads: int = option(1, "processor threads of the teachers of images", 1, 256)

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.crop_divisors, default=0) < 1:
            raise ValueError(
                "expected TeacherConfig.crop_divisors to be whole numbers from 1 on, one at "
                f"least, got {self.crop_divisors!r}: set teacher.crop_divisors to (5, 7, 10)"
            )


@dataclass(frozen=True)
class LanguageConfig(Settings, fixed="labels in memory are made with it"):
    """What the language latent learns from images (see docs/open_vocabulary.md)."""

    source: str = option(
        "labels",
        "what language is learnt from: names of label images, or dense embeddings of the images",
        choices=("labels", "images"),
    )
    vocabulary: tuple = option(
        ("",),
        "texts to tell apart while mapping; empty = the label names, and while there are none "
        "common things of rooms",
        fixed="",
    )
    feature_weight: float = option(1.0, "weight of the teacher's features", 0.0, fixed="")
    select_scales: bool = option(True, "learn which scale of the features counts for each ray")
    relevancy_weight: float = option(4.0, "weight of the vocabulary's cross-entropy", 0.0, fixed="")
    relevancy_temperature: float = option(
        0.05, "temperature of its cosines; 0 = plain products, as OV-NeRF's code has it", 0.0
    )
    vote_temperature: float = option(
        0.02, "temperature of cosines where regions vote", 1e-3, fixed=""
    )
    ranking: str = option(
        "mended",
        "how regions rank: by what they show without their surroundings, or as OV-NeRF's code does",
        choices=("mended", "released"),
    )
    rank_teacher: bool = option(True, "let regions vote on what the teacher says (RSR)")
    unlabelled: str = option(
        "", "text that pixels without a region stand for, released ranking; empty = left out"
    )
    self_enhancement: bool = option(True, "learn from what all views say later on (CSE)")
    enhancement: str = option(
        "surface",
        "what is labelled then: segments of the surface, or the map's own views as in OV-NeRF",
        choices=("surface", "views"),
    )
    enhance_from: int = option(400, "training step of the first own pseudo-labels (T)", 0)
    enhance_every: int = option(150, "training steps between later ones (N)", 1)
    enhance_per_step: int = option(
        2,
        "views relabelled before each training step while some wait; 0 = all at once",
        0,
        fixed="",
    )
    novel_views: int = option(60, "own views from new poses", 0)
    novel_poses: str = option(
        "trajectory",
        "new poses: near the real ones, or the camera spinning in place of OV-NeRF's code",
        choices=("trajectory", "circle"),
    )
    novel_rays: int = option(
        512, "labelled points, of the surface or of new poses, in a training step", 0, fixed=""
    )
    novel_width: int = option(160, "width of views from new poses, pixels", 16)
    label_width: int = option(320, "width of pseudo-label images, pixels", 16)
    fda_positive_weight: float = option(
        200.0, "weight of alike patches answering alike", 0.0, fixed=""
    )
    fda_negative_weight: float = option(
        0.2, "weight of unlike patches answering otherwise", 0.0, fixed=""
    )
    fda_every: int = option(4, "training steps between two patches of that loss", 1, fixed="")
    fda_side: int = option(16, "rays along one side of such a patch", 2, 64, fixed="")
    fda_spacing: int = option(8, "pixels between those rays", 1, fixed="")

    @property
    def texts(self) -> list[str]:
        """The vocabulary without empty texts."""
        return [text.strip() for text in self.vocabulary if text.strip()]


@dataclass(frozen=True)
class QueryConfig(Settings):
    """From text to hits."""

    negatives: tuple = option(
        ("object", "things", "stuff", "texture"), "texts that a relevant point must beat"
    )
    threshold: float = option(0.5, "relevancy from which a point belongs to a hit", 0.01, 1.0)
    max_hits: int = option(10, "most hits of one answer", 1, 1000)
    voxel_m: float = option(0.03, "spacing of the surface points, metres", 0.005, 0.5)
    min_hit_points: int = option(30, "smaller clusters are not hits", 1)
    standoff_m: float = option(0.6, "distance of the goal pose from the object's edge, metres", 0.0)
    robot_radius_m: float = option(0.25, "room that the robot needs around a goal, metres", 0.0)
    robot_height_m: float = option(1.2, "what hangs higher than this is no obstacle, metres", 0.05)
    up: str = option(
        "+z",
        "axis of the map's frame that points up; +z by REP-103",
        choices=("+z", "-z", "+y", "-y", "+x", "-x"),
    )


@dataclass(frozen=True)
class InputConfig(Settings):
    """How camera topics and poses become frames."""

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
        "frame that a PoseStamped is of (and an Odometry that names no child frame), with TF from "
        "there to the camera; empty = the optical frame itself",
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
    camera_info_timeout_s: float = option(5.0, "warn when no CameraInfo came by then, seconds", 0.1)
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
        "the images are rectified already: CameraInfo's P counts and its distortion does not; "
        "a colour topic named image_rect… says so by itself",
        fixed=START,
    )
    max_pending: int = option(30, "most frames that wait for a transform or labels", 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        frame = self.global_frame.lstrip("/")  # as tf2 and the bag readers do
        if not frame:
            raise ValueError("expected input.global_frame to name a frame, got none: set it to map")
        object.__setattr__(self, "global_frame", frame)


@dataclass(frozen=True)
class MappingNodeConfig(Settings):
    """The mapping node around the mapper."""

    input: InputConfig = dataclasses.field(default_factory=InputConfig)
    autostart: bool = option(
        True, "configure and activate at start, without a lifecycle manager", fixed=START
    )
    map_path: str = option(
        "",
        "file of save_map and load_map where the request names none; "
        "empty = $ROS_HOME/semantic_field/map.safetensors",
    )
    load_map_at_start: bool = option(False, "go on with the map in map_path", fixed=START)
    save_map_at_shutdown: bool = option(True, "write map_path when the node stops")
    autosave_period_s: float = option(
        120.0, "time between writings of map_path while mapping, seconds; 0 = never", 0.0
    )
    status_period_s: float = option(1.0, "time between status messages, seconds", 0.05)
    snapshot_period_s: float = option(2.0, "least time between snapshots, seconds", 0.1)
    cloud_period_s: float = option(5.0, "least time between semantic clouds, seconds", 0.1)
    view_period_s: float = option(1.0, "least time between views of the current camera, s", 0.05)
    annotation_name: str = option(
        "", "class of clicks and boxes that come without a name, until annotate/name says another"
    )
    view_width: int = option(320, "width of the published views, pixels", 16)


@dataclass(frozen=True)
class QueryNodeConfig(Settings):
    """The query node around the query engine."""

    refresh: bool = option(True, "answer the last question again when the map has changed")
    refresh_period_s: float = option(3.0, "least time between refreshed answers, seconds", 0.1)


@dataclass(frozen=True)
class SourceConfig(Settings, fixed=START):
    """How a recording is read, where it does not say so itself. Empty, 0 and auto: as found."""

    color_topic: str = option("", "a bag's topic of colour images")
    depth_topic: str = option("", "a bag's topic of depth images")
    labels_topic: str = option("", "a bag's topic of label images")
    color_info_topic: str = option("", "a bag's topic with the CameraInfo of colour")
    pose_topic: str = option("", "a bag's topic of camera poses (PoseStamped)")
    odometry_topic: str = option("", "a bag's topic of odometry")
    tf_topic: str = option("", "a bag's topic of TF, where several robots have their own")
    camera_frame: str = option("", "a bag's optical frame of colour, in place of its frame_id")
    pose_source: str = option(
        "auto", "where a bag's poses come from", choices=("auto", "tf", "pose", "odometry")
    )
    global_frame: str = option("", "a bag's frame that poses are given in")
    slop: float = option(0.03, "largest stamp difference of a frame's images in a bag, s", 0.0)
    camera: str = option("", "FX,FY,CX,CY,W,H of the images without distortion, pixels")
    depth_scale: float = option(0.0, "metres of one unit of the depth images", 0.0)
    register: str = option(
        "auto",
        "true moves the depth of another camera to colour, false takes it as it is",
        choices=("auto", "true", "false"),
    )

    @classmethod
    def of_texts(cls, texts: Mapping[str, str]) -> SourceConfig:
        """The settings that texts say, by the names of the options."""
        kinds = {name: type(value) for name, _, value in walk(cls())}
        return updated(cls(), {name: kinds[name](text) for name, text in texts.items()})

    def options(self) -> dict[str, Any]:
        """What differs from the defaults, as options of ``open_source``."""
        given = {n: v for n, item, v in walk(self) if v != item.default}
        if "slop" in given:
            given["slop_s"] = given.pop("slop")
        if "register" in given:
            given["register"] = self.register == "true"
        return given

    @property
    def changes_images(self) -> bool:
        """Whether frames differ from the messages of a bag by more than the choice of topics."""
        return bool(self.camera or self.depth_scale or self.register == "true")


@dataclass(frozen=True)
class ReplayNodeConfig(Settings):
    """The replay node: a recording as live topics."""

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
        20.0, "wait so long for someone to listen, seconds", 0.0, fixed=START
    )
    wait_for_mapping: bool = option(
        False, "wait for a mapping node whose status says that it maps, too", fixed=START
    )
    exit_when_done: bool = option(False, "leave when the recording has ended")
    global_frame: str = option("map", "parent frame of the published poses", fixed=START)
    camera_frame: str = option(
        "camera_color_optical_frame", "frame of the published images", fixed=START
    )
    protocol: str = option(
        "",
        "evaluation protocol whose held-out frames go to held_out/ topics; empty = none",
        fixed=START,
    )


@dataclass(frozen=True)
class ScorerNodeConfig(Settings):
    """The scorer node: a live run as a report."""

    input: InputConfig = dataclasses.field(default_factory=InputConfig)
    source: SourceConfig = dataclasses.field(default_factory=SourceConfig)
    recording: str = option(
        "room", "what is replayed: its depth and labels are the truth", fixed=START
    )
    protocol: str = option("online", "name or YAML file of the protocol", fixed=START)
    out: str = option("evaluation", "folder of the report", fixed=START)
    settle_s: float = option(15.0, "longest wait for the last snapshot, seconds", 0.0)


@dataclass(frozen=True)
class Config(Settings):
    """All settings of the library."""

    field: FieldConfig = dataclasses.field(default_factory=FieldConfig)
    mapping: MappingConfig = dataclasses.field(default_factory=MappingConfig)
    teacher: TeacherConfig = dataclasses.field(default_factory=TeacherConfig)
    language: LanguageConfig = dataclasses.field(default_factory=LanguageConfig)
    query: QueryConfig = dataclasses.field(default_factory=QueryConfig)


def walk(settings: Settings, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field, Any]]:
    """Every option as (dotted name, dataclass field, value), nested ones included."""
    for item in fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, item.name)
        if isinstance(value, Settings):
            yield from walk(value, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", item, value


def updated(settings: Any, values: dict[str, Any]) -> Any:
    """The settings with ``values`` (dotted names) in place; ValueError on an unknown name."""
    nested: dict[str, dict[str, Any]] = {}
    own: dict[str, Any] = {}
    known = {item.name for item in fields(settings)}
    for name, value in values.items():
        head, _, rest = name.partition(".")
        if head not in known or (rest and not isinstance(getattr(settings, head), Settings)):
            raise ValueError(f"expected one of the settings {sorted(known)}, got {name!r}")
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            listed = isinstance(value, list | tuple | array)
            own[head] = tuple(value) if listed else value
    own |= {head: updated(getattr(settings, head), rest) for head, rest in nested.items()}
    return dataclasses.replace(settings, **own)


def to_dict(settings: Settings) -> dict[str, Any]:
    """All options under their dotted names, tuples as lists: what ``updated`` takes back."""
    return {n: list(v) if isinstance(v, tuple) else v for n, _, v in walk(settings)}


def load_config(path: str | Path, base: Config | None = None) -> Config:
    """``base`` (or the defaults) with the deliberate overrides of a YAML file in place."""
    content = yaml.safe_load(Path(path).read_text()) or {}
    if not isinstance(content, dict):
        raise ValueError(f"expected a YAML mapping of settings in {path}, got {content!r}")
    return updated(base or Config(), dict(_flatten(content)))


def _flatten(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
