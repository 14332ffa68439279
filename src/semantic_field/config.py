"""All settings and their defaults, as frozen nested dataclasses.

``option`` gives a setting its default, its sentence of documentation and its range; the same
record is what a ROS parameter's descriptor is made of (``mapping.rays_per_step`` and so on).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml


def option(
    default: Any,
    doc: str,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field with documentation and limits (inclusive)."""
    limits = {"doc": doc, "minimum": minimum, "maximum": maximum, "choices": choices}
    return dataclasses.field(default=default, metadata=limits)


class Settings:
    """Base of the settings: checks every option against its type, range and choices."""

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            if "doc" in item.metadata:
                _check(type(self).__name__, item, getattr(self, item.name))


def _check(owner: str, item: dataclasses.Field, value: Any) -> None:
    where, meta = f"{owner}.{item.name}", item.metadata
    expected = (int, float) if isinstance(item.default, float) else type(item.default)
    is_bool_for_number = isinstance(value, bool) and not isinstance(item.default, bool)
    if not isinstance(value, expected) or is_bool_for_number:
        raise ValueError(
            f"expected {where} to be {type(item.default).__name__}, got {value!r}: {meta['doc']}"
        )
    low, high = meta["minimum"], meta["maximum"]
    if (low is not None and value < low) or (high is not None and value > high):
        raise ValueError(f"expected {where} in [{low}, {high}], got {value}: {meta['doc']}")
    if meta["choices"] and value not in meta["choices"]:
        raise ValueError(f"expected {where} to be one of {meta['choices']}, got {value!r}")


@dataclass(frozen=True)
class GridConfig(Settings):
    """The hash grid."""

    levels: int = option(8, "number of resolutions", 1, 32)
    features: int = option(4, "features stored per cell and level", 1, 8)
    log2_table_size: int = option(19, "log2 of the most table entries per level", 8, 24)
    coarsest_cell_m: float = option(0.64, "edge of a cell of the coarsest level, metres", 0.01)
    finest_cell_m: float = option(0.014, "edge of a cell of the finest level, metres", 0.001)
    kernels: str = option(
        "auto",
        "implementation of the grid kernels",
        choices=("auto", "reference", "cpu", "cuda", "tcnn"),
    )
    tcnn_extent_m: float = option(
        64.0, "edge of the cube around the map's origin that the kernels 'tcnn' cover, metres", 0.1
    )


@dataclass(frozen=True)
class FieldConfig(Settings):
    """The semantic field on top of the grid."""

    grid: GridConfig = dataclasses.field(default_factory=GridConfig)
    hidden_dim: int = option(32, "width of the hidden layers", 8, 256)
    geometry_dim: int = option(31, "length of the geometry code handed to the heads", 1, 64)
    latent_dim: int = option(64, "length D of the semantic latent", 4, 512)
    truncation_m: float = option(0.025, "truncation of the signed distance, metres", 0.005, 1.0)
    sharpness_m: float = option(
        0.01, "half width of a surface's weight along a ray, metres", 0.001, 1.0
    )
    voxel_m: float = option(0.04, "edge of a voxel of the observed space, metres", 0.005, 0.5)


@dataclass(frozen=True)
class MappingConfig(Settings):
    """Keyframes, losses and the training schedule."""

    seed: int = option(0, "seed of all random numbers", 0)
    device: str = option(
        "auto", "where to train; auto = a GPU where there is one", choices=("auto", "cpu", "cuda")
    )
    threads: int = option(2, "processor threads for training", 1, 256)
    max_speed_mps: float = option(
        10.0,
        "a camera that seems faster has a wrong pose, until three frames agree; 0 = believe all",
        0.0,
    )
    rays_per_step: int = option(2048, "rays of one training step", 64, 1 << 20)
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
        0.02, "edge of the cells of space that annotations are kept in, metres", 0.005, 0.2
    )
    labels_shape_geometry: bool = option(True, "let given labels move the geometry")
    color_shapes_geometry: bool = option(True, "let colours move samples' weights along a ray")
    guess_trust: float = option(
        0.1, "weight of a depth that was filled in for a missing reading", 0.0, 1.0
    )
    min_depth_m: float = option(0.1, "readings nearer than this are not used, metres", 0.0)
    max_depth_m: float = option(20.0, "readings farther than this are not used, metres", 0.1)
    max_image_width: int = option(640, "wider images are resized to this width, pixels", 32)
    keyframe_translation_m: float = option(0.05, "a new keyframe after this motion, metres", 0.0)
    keyframe_rotation_rad: float = option(0.1, "a new keyframe after this turn, radians", 0.0)
    depth_noise: float = option(
        0.0,
        "standard deviation of a reading at 1 m, growing with the depth's square (a Kinect's: "
        "0.002), metres; noisier readings count less",
        0.0,
        0.1,
    )
    drop_veils: bool = option(False, "use no readings that hang between front and background")
    replay_by_error: float = option(
        0.0, "share of the rays drawn from keyframes in proportion to their errors", 0.0, 1.0
    )
    forget_moved: bool = option(
        True, "forget surfaces that later images see through, and doubt what moves through a view"
    )
    refine_poses: bool = option(False, "correct small errors of the keyframes' poses")
    pose_rate: float = option(5e-4, "learning rate of pose corrections, metres and radians", 0.0)
    pose_max_shift_m: float = option(0.03, "largest correction of a position, metres", 0.0)
    pose_max_turn_deg: float = option(1.0, "largest correction of an orientation, degrees", 0.0)
    adapt_exposure: bool = option(False, "give each keyframe a gain and bias of its colours")
    memory_budget_mb: int = option(900, "limit of keyframes, grid and voxels together, MiB", 16)
    vertices_per_entry: float = option(
        1.0, "vertices of mapped space for each entry of a level's table before it doubles", 0.01
    )


@dataclass(frozen=True)
class TeacherConfig(Settings):
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
        fine = [type(d) is int and d >= 1 for d in self.crop_divisors]
        if not fine or not all(fine):
            raise ValueError(
                "expected TeacherConfig.crop_divisors to be whole numbers from 1 on, one at "
                f"least, got {self.crop_divisors!r}: set teacher.crop_divisors to (5, 7, 10)"
            )


@dataclass(frozen=True)
class LanguageConfig(Settings):
    """What the language latent learns from images (see docs/open_vocabulary.md)."""

    source: str = option(
        "labels",
        "what language is learnt from: names of label images, or dense embeddings of the images",
        choices=("labels", "images"),
    )
    vocabulary: tuple = option(
        ("",),  # not (): a parameter that is declared with no text at all takes none later on
        "texts to tell apart while mapping; empty = the label names, and while there are none "
        "common things of rooms",
    )
    feature_weight: float = option(1.0, "weight of the teacher's features", 0.0)
    select_scales: bool = option(True, "learn which scale of the features counts for each ray")
    relevancy_weight: float = option(4.0, "weight of the vocabulary's cross-entropy", 0.0)
    relevancy_temperature: float = option(
        0.05, "temperature of its cosines; 0 = plain products, as OV-NeRF's code has it", 0.0
    )
    vote_temperature: float = option(0.02, "temperature of cosines where regions vote", 1e-3)
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
        2, "views relabelled before each training step while some wait; 0 = all at once", 0
    )
    novel_views: int = option(60, "own views from new poses", 0)
    novel_poses: str = option(
        "trajectory",
        "new poses: near the real ones, or the camera spinning in place of OV-NeRF's code",
        choices=("trajectory", "circle"),
    )
    novel_rays: int = option(
        512, "labelled points, of the surface or of new poses, in a training step", 0
    )
    novel_width: int = option(160, "width of views from new poses, pixels", 16)
    label_width: int = option(320, "width of pseudo-label images, pixels", 16)
    fda_positive_weight: float = option(200.0, "weight of alike patches answering alike", 0.0)
    fda_negative_weight: float = option(0.2, "weight of unlike patches answering otherwise", 0.0)
    fda_every: int = option(4, "training steps between two patches of that loss", 1)
    fda_side: int = option(16, "rays along one side of such a patch", 2, 64)
    fda_spacing: int = option(8, "pixels between those rays", 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(isinstance(text, str) for text in self.vocabulary):
            raise ValueError(f"expected texts in language.vocabulary, got {self.vocabulary}")

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

    global_frame: str = option("map", "frame the map is built in; gravity is along its -z")
    pose_source: str = option(
        "tf",
        "where the camera pose comes from: TF at the image stamp, or the pose / odometry topic",
        choices=("tf", "pose", "odometry"),
    )
    pose_frame: str = option(
        "",
        "frame that a PoseStamped is of (and an Odometry that names no child frame), with TF from "
        "there to the camera; empty = the optical frame itself",
    )
    tf_timeout_s: float = option(0.5, "how long a frame waits for its transform, seconds", 0.0)
    sync_slop_s: float = option(
        0.03, "largest stamp difference of one frame's images, seconds", 1e-4
    )
    sync_queue: int = option(10, "images kept while waiting for their partner", 1)
    label_timeout_s: float = option(
        1.0, "how long a frame waits for its label image where labels are published, seconds", 0.0
    )
    camera_info_timeout_s: float = option(5.0, "warn when no CameraInfo came by then, seconds", 0.1)
    input_qos: str = option(
        "sensor_data",
        "reliability of the image subscriptions (sensor_data is best effort)",
        choices=("sensor_data", "reliable"),
    )
    color_transport: str = option("raw", "transport of colour", choices=("raw", "compressed"))
    depth_transport: str = option(
        "raw", "transport of depth", choices=("raw", "compressed", "compressedDepth")
    )
    rectified: bool = option(
        False,
        "the images are rectified already: CameraInfo's P counts and its distortion does not; "
        "a colour topic named image_rect… says so by itself",
    )
    max_pending: int = option(30, "most frames that wait for a transform or labels", 1)


@dataclass(frozen=True)
class MappingNodeConfig(Settings):
    """The mapping node around the mapper."""

    input: InputConfig = dataclasses.field(default_factory=InputConfig)
    autostart: bool = option(True, "configure and activate at start, without a lifecycle manager")
    map_path: str = option(
        "",
        "file of save_map and load_map where the request names none; "
        "empty = $ROS_HOME/semantic_field/map.safetensors",
    )
    load_map_at_start: bool = option(False, "go on with the map in map_path")
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
class ReplayNodeConfig(Settings):
    """The replay node: a recording as live topics."""

    input: str = option("room", "folder, rosbag2, or room[:seed=3,frames=60]")
    rate: float = option(1.0, "speed of the replay; 2 = twice as fast as recorded", 0.01, 1000.0)
    frame_rate_hz: float = option(5.0, "frames per second of a recording without stamps", 0.1)
    loop: bool = option(False, "start again at the end")
    step: bool = option(False, "publish one frame for each call of the service ~/step")
    publish_clock: bool = option(True, "publish /clock")
    wait_for_subscriber_s: float = option(20.0, "wait so long for someone to listen, seconds", 0.0)
    exit_when_done: bool = option(False, "leave when the recording has ended")
    global_frame: str = option("map", "parent frame of the published poses")
    camera_frame: str = option("camera_color_optical_frame", "frame of the published images")
    protocol: str = option(
        "", "evaluation protocol whose held-out frames go to held_out/ topics; empty = none"
    )


@dataclass(frozen=True)
class ScorerNodeConfig(Settings):
    """The scorer node: a live run as a report."""

    input: InputConfig = dataclasses.field(default_factory=InputConfig)
    recording: str = option("room", "what is replayed: its depth and labels are the truth")
    protocol: str = option("online", "name or YAML file of the protocol")
    out: str = option("evaluation", "folder of the report")
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
            default = getattr(settings, head)
            own[head] = tuple(value) if isinstance(default, tuple) else value
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
