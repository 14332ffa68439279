"""Random room layout: places furniture without collisions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from semantic_field.data.room import furniture as living
from semantic_field.data.room import kitchen
from semantic_field.data.room.shapes import Material, Shape, box, extent, yaw_rotation
from semantic_field.frames import VOID_LABEL

LABELS = (
    "floor",
    "wall",
    "ceiling",
    "door",
    "window",
    "curtain",
    "rug",
    "sofa",
    "armchair",
    "chair",
    "dining table",
    "coffee table",
    "bookshelf",
    "books",
    "tv stand",
    "tv",
    "lamp",
    "potted plant",
    "refrigerator",
    "kitchen counter",
    "kitchen cabinet",
    "microwave",
    "trash bin",
    "mug",
    "bowl",
    "vase",
    "cushion",
    "picture",
    "clock",
)
STRUCTURE = frozenset({"floor", "wall", "ceiling"})
FLAT = frozenset({"rug"})  # no obstacle; furniture may stand on it
GAP_M = 0.04


@dataclass(frozen=True)
class Piece:
    """One object of the room.

    Attributes:
        name: class name, one of ``LABELS``.
        shapes: its solids in the world frame.
        position: origin (3,) of its own frame in the world, metres.
        yaw: radians about z.
        low, high: corners (3,) of its bounding box, in its own frame.
        instance: number from 1; -1 for floor, walls and ceiling.
    """

    name: str
    shapes: tuple[Shape, ...]
    position: NDArray[np.float64]
    yaw: float
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    instance: int

    @property
    def on_floor(self) -> bool:
        """Whether it is an obstacle on the floor."""
        return self.position[2] < 0.01 and self.name not in STRUCTURE | FLAT

    def footprint(self) -> NDArray[np.float64]:
        """Return the four corners (4, 2) of its bounding box on the floor, in order."""
        (x0, y0), (x1, y1) = self.low[:2], self.high[:2]
        corners = np.array([[x0, y0, 0], [x1, y0, 0], [x1, y1, 0], [x0, y1, 0]])
        return (corners @ yaw_rotation(self.yaw).T + self.position)[:, :2]


@dataclass
class Layout:
    """A room while it is being furnished.

    Attributes:
        rng: source of all random choices.
        size: width along x, depth along y, height, metres; the origin is the centre of the floor.
        mirror: +1 or -1 along x and y, by which positions in ``place`` are reflected.
        pieces: all objects placed so far.
    """

    rng: np.random.Generator
    size: tuple[float, float, float]
    mirror: tuple[int, int]
    pieces: list[Piece] = field(default_factory=list)

    def place(
        self,
        name: str,
        shapes: list[Shape],
        position: tuple[float, float] | tuple[float, float, float],
        yaw: float = 0.0,
    ) -> Piece:
        """Place ``shapes`` (in their own frame) at ``position``, rotated by ``yaw``; reflected."""
        x, y, z = (*position, 0.0)[:3]
        x, y = self.mirror[0] * x, self.mirror[1] * y
        yaw = self.mirror[0] * yaw
        if self.mirror[1] < 0:
            yaw = np.pi - yaw
        return self._add(name, shapes, np.array([x, y, z], float), yaw)

    def place_on(
        self, support: Piece, name: str, shapes: list[Shape], offset: tuple, yaw: float = 0.0
    ) -> Piece:
        """Place ``shapes`` at ``offset`` (3,) in the frame of ``support``; not reflected."""
        position = yaw_rotation(support.yaw) @ np.asarray(offset, float) + support.position
        return self._add(name, shapes, position, support.yaw + yaw)

    def _add(self, name: str, shapes: list[Shape], position: NDArray, yaw: float) -> Piece:
        low, high = extent(shapes)
        instance = VOID_LABEL
        if name not in STRUCTURE:
            instance = 1 + sum(piece.instance > 0 for piece in self.pieces)
        turned = tuple(shape.moved(yaw_rotation(yaw), position) for shape in shapes)
        yaw = float((yaw + np.pi) % (2 * np.pi) - np.pi)
        piece = Piece(name, turned, position, yaw, low, high, instance)
        self.pieces.append(piece)
        return piece


def make_layout(seed: int) -> Layout:
    """Return the furnished room of a seed.

    Raises:
        RuntimeError: if no layout without collisions is found (for no seed up to 1000).
    """
    rng = np.random.default_rng(seed)
    for _ in range(50):
        size = (rng.uniform(6.1, 6.8), rng.uniform(4.7, 5.1), rng.uniform(2.5, 2.7))
        mirror = (1 if rng.random() < 0.5 else -1, 1 if rng.random() < 0.5 else -1)
        layout = Layout(rng, size, mirror)
        _build_shell(layout)
        _furnish_living(layout)
        _furnish_kitchen(layout)
        _furnish_walls(layout)
        if not _has_collision(layout):
            return layout
    raise RuntimeError(f"no layout without collisions found for seed {seed}")


def _build_shell(layout: Layout) -> None:
    """Floor (planks, and tiles in the kitchen), walls with skirting boards, ceiling."""
    rng, (w, d, h) = layout.rng, layout.size
    x, y, t = w / 2, d / 2, 0.1
    split = -x + 1.55
    planks = Material("planks", living.pick(rng, living.WOOD_COLORS), 1.4)
    tiles = Material("tiles", (0.80, 0.76, 0.70), 1.6)
    paint = living.pick(rng, ((0.90, 0.87, 0.80), (0.80, 0.86, 0.84), (0.88, 0.82, 0.78)))
    wall = Material("wallpaper" if rng.random() < 0.5 else "plain", paint, 1.1)
    board = Material("plain", kitchen.WHITE, 0.8)
    for x0, x1, cover in ((split, x, planks), (-x, split, tiles)):
        half = (x1 - x0) / 2
        slab = box((-half, -y, -t), (half, y, 0), cover)
        layout.place("floor", [slab], ((x0 + x1) / 2, 0))
    layout.place(
        "ceiling",
        [box((-x, -y, h), (x, y, h + t), Material("plain", (0.95, 0.94, 0.92)))],
        (0, 0),
    )
    for yaw, half, away in ((0.0, x, y), (np.pi, x, y), (np.pi / 2, y, x), (-np.pi / 2, y, x)):
        c, s = np.cos(yaw), np.sin(yaw)
        slab = box((-half, 0, 0), (half, t, h), wall)
        skirting = box((-half, -0.012, 0), (half, 0, 0.09), board)
        layout.place("wall", [slab, skirting], (-s * away, c * away), yaw)


def _furnish_living(layout: Layout) -> None:
    """Sofa, armchair, coffee table on a rug, television, shelf, lamp and plant."""
    rng, (w, d, h) = layout.rng, layout.size
    x, y = w / 2, d / 2
    wood = living.pick(rng, living.WOOD_COLORS)
    middle = x - 1.95 + rng.uniform(-0.08, 0.08)
    sofa = layout.place("sofa", living.sofa(rng), (middle, y - 0.47))
    for side in (-1, 1):
        yaw = side * rng.uniform(0.05, 0.25)
        layout.place_on(sofa, "cushion", living.cushion(rng), (0.62 * side, 0.0, 0.40), yaw)
    table_at = (middle + rng.uniform(-0.1, 0.1), y - 1.62 + rng.uniform(-0.04, 0.04))
    layout.place("rug", living_rug(rng), (table_at[0], table_at[1] + 0.1))
    table = layout.place(
        "coffee table", living.coffee_table(rng, wood), table_at, rng.uniform(-0.06, 0.06)
    )
    layout.place_on(table, "books", living.book_pile(rng), (-0.25, 0.06, 0.436), 0.4)
    layout.place_on(table, "vase", kitchen.vase(rng), (0.24, -0.05, 0.436))
    chair_at = (x - 0.72, y - 1.9 - rng.uniform(0.25, 0.4))
    armchair = living.armchair(rng)
    layout.place("armchair", armchair, chair_at, -np.pi / 2 - rng.uniform(0.1, 0.3))
    stand = layout.place("tv stand", living.tv_stand(rng, wood), (middle - 0.2, -y + 0.24), np.pi)
    layout.place_on(stand, "tv", living.tv(rng), (0.0, 0.03, 0.501))
    shelf = layout.place("bookshelf", living.bookshelf(rng, wood), (middle - 1.78, y - 0.17))
    for height in living.shelf_heights():
        row = living.books(rng, 0.86)
        layout.place_on(shelf, "books", row, (0.0, -0.01, height + 0.001))
    layout.place("lamp", living.floor_lamp(rng), (x - 0.42, y - 0.30))
    layout.place("potted plant", living.plant(rng), (x - 0.64, -y + 0.64), rng.uniform(-3, 3))
    layout.place("lamp", kitchen.ceiling_lamp(rng), (middle, 0.1, h))


def living_rug(rng: np.random.Generator) -> list[Shape]:
    return kitchen.rug(rng, rng.uniform(2.1, 2.4), rng.uniform(1.5, 1.7))


def _furnish_kitchen(layout: Layout) -> None:
    """Fridge and counter along one wall, a dining table with four chairs, a bin."""
    rng, (w, d, _) = layout.rng, layout.size
    x, y = w / 2, d / 2
    color = living.pick(rng, ((0.86, 0.85, 0.80), (0.45, 0.55, 0.55), (0.30, 0.38, 0.48)))
    length = rng.uniform(2.0, 2.3)
    at_y = y - 0.72 - length / 2
    layout.place("refrigerator", kitchen.refrigerator(rng), (-x + 0.34, y - 0.34), np.pi / 2)
    counter = layout.place(
        "kitchen counter", kitchen.counter(rng, length, color), (-x + 0.315, at_y), np.pi / 2
    )
    cabinet = kitchen.wall_cabinet(rng, length - 0.1, color)
    layout.place("kitchen cabinet", cabinet, (-x + 0.18, at_y, 1.5), np.pi / 2)
    splash = Material("bricks", (0.85, 0.90, 0.90), 0.6)
    panel = box((-length / 2, -0.006, 0.9), (length / 2, 0, 1.5), splash)
    layout.place("wall", [panel], (-x, at_y), np.pi / 2)
    layout.place_on(counter, "microwave", kitchen.microwave(rng), (length * 0.02, 0.06, 0.901))
    bin_at = (-x + 0.2, at_y - length / 2 - 0.28)
    layout.place("trash bin", kitchen.trash_bin(rng), bin_at)
    _furnish_dining(layout)


def _furnish_dining(layout: Layout) -> None:
    rng, (w, d, h) = layout.rng, layout.size
    wood = living.pick(rng, living.WOOD_COLORS)
    at = (-w / 2 + 2.0 + rng.uniform(-0.05, 0.05), -d / 2 + 1.72 + rng.uniform(-0.1, 0.1))
    turn = np.pi / 2 + rng.uniform(-0.08, 0.08)
    table = layout.place("dining table", living.dining_table(rng, wood), at, turn)
    for x in (-0.38, 0.38):
        for side in (-1, 1):
            out = rng.uniform(0.34, 0.5)
            yaw = (0.0 if side > 0 else np.pi) + rng.uniform(-0.2, 0.2)
            chair = living.chair(rng, wood)
            layout.place_on(table, "chair", chair, (x, side * (0.42 - 0.21 + out), 0), yaw)
    layout.place_on(table, "mug", kitchen.mug(rng), (0.5, rng.uniform(-0.2, 0.2), 0.751), 1.0)
    layout.place_on(table, "bowl", kitchen.bowl(rng), (-0.05, rng.uniform(-0.1, 0.1), 0.751))
    layout.place("lamp", kitchen.pendant_lamp(rng, h - 1.85), (*at, h))


def _furnish_walls(layout: Layout) -> None:
    """A window with curtains, a door, pictures and a clock."""
    rng, (w, d, _) = layout.rng, layout.size
    x, y = w / 2, d / 2
    middle = x - 1.95
    at_y, width = -0.15, rng.uniform(1.4, 1.7)
    layout.place("window", kitchen.window(rng, width, 1.3), (x, at_y, 1.55), -np.pi / 2)
    cloth = living.pick(rng, living.ACCENT_COLORS)
    for side in (-1, 1):
        along = at_y + side * (width / 2 + 0.16)
        curtain = kitchen.curtain(rng, 0.36, 2.1, cloth)
        layout.place("curtain", curtain, (x, along, 0.25), -np.pi / 2)
    layout.place("door", kitchen.door(rng), (-x + 0.72, -y), np.pi)
    layout.place("picture", kitchen.picture(rng, 1.0, 0.7), (middle, y, 1.55))
    layout.place("picture", kitchen.picture(rng, 0.5, 0.65), (-x + 2.1, -y, 1.5), np.pi)
    layout.place("clock", kitchen.clock(rng), (-x + 1.3, y, 1.9))


def _has_collision(layout: Layout) -> bool:
    """Return whether two objects on the floor are closer than ``GAP_M`` or one is in a wall."""
    standing = [piece for piece in layout.pieces if piece.on_floor]
    half = np.array(layout.size[:2]) / 2 + 1e-6
    if any((np.abs(piece.footprint()) > half).any() for piece in standing):
        return True
    return any(
        _overlap(a.footprint(), b.footprint())
        for i, a in enumerate(standing)
        for b in standing[:i]
        if {a.name, b.name} != {"chair", "dining table"}  # chairs are pushed under the table
    )


def _overlap(a: NDArray, b: NDArray) -> bool:
    """Return whether two convex outlines (N, 2) overlap or nearly touch (separating axes)."""
    for outline in (a, b):
        edges = np.roll(outline, -1, axis=0) - outline
        normals = np.stack([edges[:, 1], -edges[:, 0]], axis=1)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        for normal in normals:
            pa, pb = a @ normal, b @ normal
            if pa.min() > pb.max() + GAP_M or pb.min() > pa.max() + GAP_M:
                return False
    return True
