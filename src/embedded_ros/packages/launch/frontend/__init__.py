"""XML and YAML launch files; substitutions written as text: ``$(var name)``."""

from launch.frontend.parse_substitution import parse_substitution

__all__ = ["parse_substitution"]
