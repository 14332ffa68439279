"""A replacement of ROS 2's ``launch`` for machines without ROS 2: runs unchanged launch files."""

from launch import actions, conditions, event_handlers, substitutions
from launch.entities import Action, LaunchDescription, LaunchDescriptionEntity
from launch.launch_context import LaunchContext
from launch.launch_description_source import InvalidLaunchFileError, LaunchDescriptionSource
from launch.launch_service import LaunchService
from launch.substitution import Substitution
from launch.supported import names_of

__all__ = [
    "Action",
    "InvalidLaunchFileError",
    "LaunchContext",
    "LaunchDescription",
    "LaunchDescriptionEntity",
    "LaunchDescriptionSource",
    "LaunchService",
    "Substitution",
    "actions",
    "conditions",
    "event_handlers",
    "substitutions",
]
__getattr__ = names_of(
    __name__, __all__, not_loaded=("launch_description_sources", "logging", "utilities")
)
