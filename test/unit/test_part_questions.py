"""Questions for parts: what is one, and what it asks for; categories of names."""

from __future__ import annotations

import pytest

from semantic_field.query.categories import category_of, singular
from semantic_field.query.part_questions import PartQuestion, part_question

PARTS = {
    "chair": ("seat", "backrest", "leg", "armrest"),
    "table": ("top", "leg", "drawer"),
    "mug": ("body", "handle"),
    "bottle": ("body", "neck", "cap"),
    "lamp": ("base", "pole", "shade"),
    "cabinet": ("body", "door", "drawer", "handle", "leg"),
}


@pytest.mark.parametrize(
    ("text", "part", "whole", "category"),
    [
        ("the handle of the mug", "handle", "mug", "mug"),
        ("The backrest of the chair?", "backrest", "chair", "chair"),
        ("mug handle", "handle", "mug", "mug"),
        ("the red mug's handle", "handle", "red mug", "mug"),
        ("handle on the blue  cup", "handle", "blue cup", "mug"),
        ("the chairs' legs", "leg", "chair", "chair"),
        ("legs of the dining table", "leg", "dining table", "table"),
        ("the back of the office chair", "backrest", "office chair", "chair"),
        ("the lid of a bottle", "cap", "bottle", "bottle"),
        ("lamp shade", "shade", "lamp", "lamp"),
        ("the desk lamp's lampshade", "shade", "desk lamp", "lamp"),
        ("kitchen cabinet door", "door", "kitchen cabinet", "cabinet"),
        ("a wooden chair’s arm rest", "armrest", "wooden chair", "chair"),
    ],
)
def test_a_part_of_a_thing_is_asked_for(text, part, whole, category):
    assert part_question(text, PARTS) == PartQuestion(part, whole, category)


@pytest.mark.parametrize(
    "text",
    [
        "mug",
        "handle",
        "somewhere to sit",
        "coffee table",
        "the seat of the car",  # there are no parts of cars
        "the handle of the chair",  # and chairs have no handles
        "the back of the room",
        "a mug with a handle",
        "door handle",
        "the door of the house",
        "a picture of a chair",
        "",
    ],
)
def test_other_texts_are_left_alone(text):
    assert part_question(text, PARTS) is None


def test_without_priors_there_are_no_parts():
    assert part_question("the handle of the mug", {}) is None


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("chair", "chair"),
        ("OfficeChair_02", "chair"),
        ("chairs", "chair"),
        ("dining_table", "table"),
        ("desk", "table"),  # another name of which is "work table"
        ("cup", "mug"),
        ("wine bottles", "bottle"),
        ("floor lamp", "lamp"),
        ("cupboard", "cabinet"),
        ("sofa", None),
        ("bedside table", "table"),
        ("night stand", None),  # a bedside table or a bedside cabinet
        ("floor", None),
        ("chair cushion", None),
    ],
)
def test_the_category_of_a_name(name, category):
    assert category_of(name, PARTS) == category


def test_only_known_categories_count():
    assert category_of("cup", ["chair"]) is None


@pytest.mark.parametrize(
    ("many", "one"),
    [
        ("legs", "leg"),
        ("glass", "glass"),
        ("couches", "couch"),
        ("shelves", "shelf"),
        ("leg", "leg"),
    ],
)
def test_plurals(many, one):
    assert singular(many) == one
