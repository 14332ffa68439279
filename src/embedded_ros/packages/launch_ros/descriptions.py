"""Classes that describe parameters in launch files."""

from launch.supported import names_of

from launch_ros.parameter_descriptions import ParameterFile, ParameterValue

__all__ = ["ParameterFile", "ParameterValue"]
__getattr__ = names_of(__name__, __all__)
