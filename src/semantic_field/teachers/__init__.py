"""Frozen models that give texts and images their embeddings."""

from semantic_field.teachers.factory import make_language_teacher
from semantic_field.teachers.language import Calibration, LanguageTeacher
