"""Substitutions written as text: ``$(var name)``. XML and YAML launch files need ROS 2."""

from launch.frontend.parse_substitution import parse_substitution

__all__ = ["parse_substitution"]
