"""Prompt templates for class names, for CLIP models."""

from __future__ import annotations

# Added by MaskCLIP and 3D-OVS to the 80 templates of CLIP's ImageNet evaluation.
IN_THE_SCENE = (
    "there is a {} in the scene.",
    "there is the {} in the scene.",
    "this is a {} in the scene.",
    "this is the {} in the scene.",
    "this is one {} in the scene.",
)


def sentences(text: str, average: bool) -> list[str]:
    """Return the text itself, or with ``average`` the 85 prompts to be averaged."""
    if not average:
        return [text]
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    imagenet = [template(text) for template in OPENAI_IMAGENET_TEMPLATES]
    return imagenet + [template.format(text) for template in IN_THE_SCENE]
