"""Names of types that launch files use in annotations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.some_substitutions_type import SomeSubstitutionsType

from launch_ros.parameter_descriptions import Parameter, ParameterFile

SomeParameterFile = SomeSubstitutionsType | ParameterFile | Path
SomeParametersDict = Mapping[Any, Any]
SomeParameters = Sequence[SomeParameterFile | Parameter | SomeParametersDict]
