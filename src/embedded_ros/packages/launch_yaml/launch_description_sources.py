"""The source that is named after YAML; ``AnyLaunchDescriptionSource`` reads such files as well."""

from launch.launch_description_sources import FrontendLaunchDescriptionSource


class YAMLLaunchDescriptionSource(FrontendLaunchDescriptionSource):
    """A launch file in YAML."""


__all__ = ["YAMLLaunchDescriptionSource"]
