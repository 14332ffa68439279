"""The demo's pictures and clouds: camera view, rendered views, relevancy from above."""

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
) -> list[str]:
    """Write all pictures and clouds below ``out``; the names of the files.

    ``up`` names the axis of the world that points up, such as "+z".
    """
    frame = _most_labels(source)
    text = next(iter(answers), "")
    view = client.call(RenderView, "render_view", _request(frame, text), timeout_s=60.0)
    if not view.success:
        raise RuntimeError(f"render_view: {view.message}")
    images = _images(frame, view)
    for name, image in images.items():
        _write_png(out / f"{name}.png", image)
    _write_png(out / "overview.png", _contact_sheet(images))
    files = [f"{name}.png" for name in (*images, "overview")]
    for index, (asked, answer) in enumerate(answers.items(), start=1):
        points = conversions.surface_points(answer.relevancy, answer.origin)
        relevancy = conversions.cloud_arrays(answer.relevancy)["intensity"].copy()
        hits = [hit_from_message(hit) for hit in answer.hits]
        write_ply(out / f"relevancy_{index}.ply", points, relevancy)
        draw_top_down(out / f"from_above_{index}.png", points, relevancy, asked, hits, up)
        files += [f"relevancy_{index}.ply", f"from_above_{index}.png"]
    return files


def _most_labels(source: FrameSource) -> Frame:
    """Of a dozen frames the one that shows the most classes."""
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
    if view.relevancy.width:
        images["rendered_relevancy"] = relevancy_colors(conversions.image_array(view.relevancy))
    return images


def _contact_sheet(images: dict[str, NDArray[np.uint8]], columns: int = 3) -> NDArray[np.uint8]:
    captioned = []
    for name, image in images.items():
        tile = image.copy()
        cv2.rectangle(tile, (0, 0), (tile.shape[1], 30), (30, 30, 30), cv2.FILLED)
        cv2.putText(tile, name, (8, 21), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 1)
        captioned.append(tile)
    while len(captioned) % columns:
        captioned.append(np.zeros_like(captioned[0]))
    rows = [np.hstack(captioned[i : i + columns]) for i in range(0, len(captioned), columns)]
    return np.vstack(rows)


def _write_png(path: Path, image: NDArray[np.uint8]) -> None:
    if not cv2.imwrite(str(path), image[..., ::-1]):
        raise OSError(f"{path} could not be written: is the disk full?")
