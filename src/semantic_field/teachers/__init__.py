"""Teachers: frozen models that embed texts and images, propose regions, and give patch features."""

from semantic_field.teachers.factory import make_language_teacher
from semantic_field.teachers.language import Calibration, LanguageTeacher
