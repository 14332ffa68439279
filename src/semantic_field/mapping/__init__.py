"""Mapping: trains the field on frames as they arrive."""

from semantic_field.mapping.mapper import Mapper, MapperStatus

__all__ = ["Mapper", "MapperStatus"]
