"""From frames to a trained field."""

from semantic_field.mapping.mapper import Mapper, MapperStatus

__all__ = ["Mapper", "MapperStatus"]
