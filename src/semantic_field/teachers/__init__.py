"""Frozen models that give texts and images their embeddings."""

from semantic_field.teachers.language import (
    Calibration,
    LanguageTeacher,
    make_language_teacher,
)
