"""Writes the demo's pictures and clouds: camera image, rendered and inferred views, relevancy."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray

from semantic_field.data.sources import FrameSource
from semantic_field.field.surface.ply import write_ply
from semantic_field.frames import Frame
from semantic_field.nodes.asking.answers import hit_from_message
from semantic_field.nodes.ros import conversions
from semantic_field.nodes.ros.client import Client
from semantic_field.query.colors import depth_colors, label_colors, relevancy_colors
from semantic_field.query.top_down import draw_top_down
from semantic_field.srv import Query, RenderView


def write(
    client: Client, source: FrameSource, answers: dict[str, Query.Response], up: str, out: Path
) -> tuple[list[str], str]:
    """Write all pictures and clouds to ``out``; ``up`` is the axis that points up, such as "+z".

    Returns:
        The file names, and why there is no view of the inference node; "" if there is one.
    """
    frame = _most_labels(source)
    text = next(iter(answers), "")
    view = client.call(RenderView, "render_view", _request(frame, text), timeout_s=60.0)
    if not view.success:
        raise RuntimeError(f"render_view: {view.message}")
    inferred = client.call(RenderView, "infer_view", _request(frame, ""), timeout_s=60.0)
    images = _images(frame, view) | (_inferred(inferred) if inferred.success else {})
    for name, image in images.items():
        _write_png(out / f"{name}.png", image)
    _write_png(out / "overview.png", _contact_sheet(frame, images))
    files = [f"{name}.png" for name in (*images, "overview")]
    for index, (asked, answer) in enumerate(answers.items(), start=1):
        points = conversions.surface_points(answer.relevancy, answer.origin)
        relevancy = conversions.cloud_arrays(answer.relevancy)["intensity"].copy()
        hits = [hit_from_message(hit) for hit in answer.hits]
        write_ply(out / f"relevancy_{index}.ply", points, relevancy)
        draw_top_down(out / f"from_above_{index}.png", points, relevancy, asked, hits, up)
        files += [f"relevancy_{index}.ply", f"from_above_{index}.png"]
    return files, inferred.message


def _most_labels(source: FrameSource) -> Frame:
    """Return, from up to 12 evenly spaced frames, the one with the most classes."""
    indices = np.linspace(0, len(source) - 1, min(12, len(source))).astype(int)
    frames = [source[int(i)] for i in indices]
    return max(frames, key=lambda f: 0 if f.labels is None else len(np.unique(f.labels)))


def _request(frame: Frame, text: str) -> RenderView.Request:
    header = conversions.make_header(frame.stamp_ns, "")
    return RenderView.Request(
        camera_pose=PoseStamped(header=header, pose=conversions.to_pose(frame.T_world_camera)),
        camera_info=conversions.camera_info(frame.camera, header),
        text=text,
    )


def _images(frame: Frame, view: RenderView.Response) -> dict[str, NDArray[np.uint8]]:
    depth, label = conversions.image_array(view.depth), conversions.label_ids(view.label)
    images = {
        "camera": frame.color,
        "camera_depth": depth_colors(frame.depth),
        "rendered_color": conversions.image_array(view.color),
        "rendered_depth": depth_colors(depth),
        "rendered_labels": label_colors(label),
    }
    if frame.labels is not None:
        images["camera_labels"] = label_colors(frame.labels)
    if view.relevancy.width:
        images["rendered_relevancy"] = relevancy_colors(conversions.image_array(view.relevancy))
    return images


def _inferred(view: RenderView.Response) -> dict[str, NDArray[np.uint8]]:
    """Return the images of the inference node, which did not use the frame that is shown."""
    return {
        "inferred_color": conversions.image_array(view.color),
        "inferred_depth": depth_colors(conversions.image_array(view.depth)),
        "inferred_labels": label_colors(conversions.label_ids(view.label)),
    }


SHEET = (
    ("camera", "camera_depth", "camera_labels"),
    ("rendered_color", "rendered_depth", "rendered_labels", "rendered_relevancy"),
    ("inferred_color", "inferred_depth", "inferred_labels"),
)


def _contact_sheet(frame: Frame, images: dict[str, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return the images with their names in rows: what was seen, mapped, and inferred."""
    rows = [[name for name in row if name in images] for row in SHEET]
    columns = max(map(len, rows))
    nothing = np.zeros_like(frame.color)
    tiles = [
        [_captioned(images[name], name) for name in row] + [nothing] * (columns - len(row))
        for row in rows
        if row
    ]
    return np.vstack([np.hstack(row) for row in tiles])


def _captioned(image: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    tile = image.copy()
    cv2.rectangle(tile, (0, 0), (tile.shape[1], 30), (30, 30, 30), cv2.FILLED)
    cv2.putText(tile, name, (8, 21), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1)
    return tile


def _write_png(path: Path, image: NDArray[np.uint8]) -> None:
    if not cv2.imwrite(str(path), image[..., ::-1]):
        raise OSError(f"{path} could not be written: is the disk full?")
