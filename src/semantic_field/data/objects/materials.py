"""Random materials of furniture and vessels: woods, fabrics, paints, metals, glazes."""

from __future__ import annotations

import colorsys

import numpy as np

from semantic_field.data.room.shapes import Material

Random = np.random.Generator


def chance(rng: Random, probability: float) -> bool:
    """Return True with that probability."""
    return bool(rng.random() < probability)


def choice(rng: Random, weights: dict[str, float]) -> str:
    """Return one of the names at random, with probabilities in the ratio of their weights."""
    shares = np.array(list(weights.values()))
    return list(weights)[int(rng.choice(len(shares), p=shares / shares.sum()))]


def color_of(hue: float, saturation: float, value: float) -> tuple[float, float, float]:
    """Return the sRGB colour of hue (cyclic), saturation and value, 0..1."""
    return colorsys.hsv_to_rgb(hue % 1.0, float(np.clip(saturation, 0, 1)), min(value, 1.0))


def random_wood(rng: Random) -> Material:
    """Return a wood, from birch to wenge."""
    value = rng.uniform(0.32, 0.90)
    color = color_of(rng.uniform(0.055, 0.10), 0.72 - 0.35 * value + rng.normal(0, 0.05), value)
    return Material("wood", color, 0.8)


def random_fabric(rng: Random) -> Material:
    """Return a woven cloth, mostly of muted colour."""
    color = color_of(rng.random(), rng.uniform(0.05, 0.65), rng.uniform(0.3, 0.85))
    return Material("check" if chance(rng, 0.1) else "fabric", color, 0.3)


def random_paint(rng: Random) -> Material:
    """Return a painted surface: white, grey, black or coloured."""
    if chance(rng, 0.4):
        grey = float(rng.choice([0.93, 0.85, 0.55, 0.3, 0.16]))
        return Material("plain", (grey, grey * 0.99, grey * 0.97), 0.5)
    color = color_of(rng.random(), rng.uniform(0.3, 0.8), rng.uniform(0.4, 0.9))
    return Material("plain", color, 0.5)


def random_metal(rng: Random) -> Material:
    """Return steel, brass, copper or blackened metal."""
    kinds = ((0.78, 0.79, 0.80), (0.80, 0.66, 0.36), (0.72, 0.46, 0.34), (0.2, 0.2, 0.21))
    return Material("metal", kinds[int(rng.choice(4, p=[0.5, 0.15, 0.1, 0.25]))], 0.6)


def random_frame(rng: Random) -> Material:
    """Return what frames and legs are made of: mostly wood, or metal, or painted."""
    makers = {"wood": random_wood, "metal": random_metal, "paint": random_paint}
    return makers[choice(rng, {"wood": 0.6, "metal": 0.2, "paint": 0.2})](rng)
