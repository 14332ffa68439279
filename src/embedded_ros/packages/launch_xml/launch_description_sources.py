"""The source that is named after XML; ``AnyLaunchDescriptionSource`` reads such files as well."""

from launch.launch_description_sources import FrontendLaunchDescriptionSource


class XMLLaunchDescriptionSource(FrontendLaunchDescriptionSource):
    """A launch file in XML."""


__all__ = ["XMLLaunchDescriptionSource"]
