"""The services that read and set a node's log levels."""

from __future__ import annotations

from typing import Any

from rclpy import logging


class LoggerService:
    """The services ``get_logger_levels`` and ``set_logger_levels`` of one node."""

    def __init__(self, node: Any) -> None:
        from rcl_interfaces.srv import GetLoggerLevels, SetLoggerLevels

        node.create_service(GetLoggerLevels, "~/get_logger_levels", self._get)
        node.create_service(SetLoggerLevels, "~/set_logger_levels", self._set)

    def _get(self, request: Any, response: Any) -> Any:
        from rcl_interfaces.msg import LoggerLevel

        response.levels = [
            LoggerLevel(name=name, level=int(logging.get_logger_level(name)))
            for name in request.names
        ]
        return response

    def _set(self, request: Any, response: Any) -> Any:
        from rcl_interfaces.msg import SetLoggerLevelsResult

        for level in request.levels:
            result = SetLoggerLevelsResult(successful=True)
            try:
                logging.set_logger_level(level.name, level.level)
            except ValueError as error:
                result = SetLoggerLevelsResult(successful=False, reason=str(error))
            response.results.append(result)
        return response
