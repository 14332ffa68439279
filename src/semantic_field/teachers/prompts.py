"""The sentences that a class name is put into before a CLIP model reads it."""

from __future__ import annotations

# MaskCLIP's and 3D-OVS's additions to the 80 sentences of CLIP's ImageNet evaluation.
IN_THE_SCENE = (
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)


def sentences(text: str, average: bool) -> list[str]:
    """The text as it is, or the 85 sentences about it that are averaged."""
    if not average:
        return [text]
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    imagenet = [template(text) for template in OPENAI_IMAGENET_TEMPLATES]
    return imagenet + [template.format(text) for template in IN_THE_SCENE]
