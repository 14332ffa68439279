"""The six parameter services of a node, used by ``ros2 param``."""

from __future__ import annotations

from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import (
    DescribeParameters,
    GetParameters,
    GetParameterTypes,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)

from rclpy.exceptions import ParameterNotDeclaredException, ParameterUninitializedException
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_parameters


class ParameterService:
    """Provides the parameter services of one node."""

    def __init__(self, node) -> None:
        self._node = node
        for name, kind, callback in (
            ("describe_parameters", DescribeParameters, self._describe_parameters),
            ("get_parameters", GetParameters, self._get_parameters),
            ("get_parameter_types", GetParameterTypes, self._get_parameter_types),
            ("list_parameters", ListParameters, self._list_parameters),
            ("set_parameters", SetParameters, self._set_parameters),
            (
                "set_parameters_atomically",
                SetParametersAtomically,
                self._set_parameters_atomically,
            ),
        ):
            node.create_service(kind, f"~/{name}", callback, qos_profile=qos_profile_parameters)

    def _describe_parameters(self, request, response):
        try:
            response.descriptors = self._node.describe_parameters(list(request.names))
        except ParameterNotDeclaredException as error:
            self._node.get_logger().debug(f"Failed to describe parameters: {error}")
        return response

    def _get_parameters(self, request, response):
        # As in rclpy: an unknown name, or one without a value, makes the whole answer empty.
        try:
            parameters = self._node.get_parameters(list(request.names))
            response.values = [parameter.get_parameter_value() for parameter in parameters]
        except (ParameterNotDeclaredException, ParameterUninitializedException) as error:
            self._node.get_logger().debug(f"Failed to get parameters: {error}")
        return response

    def _get_parameter_types(self, request, response):
        try:
            response.types = self._node.get_parameter_types(list(request.names))
        except ParameterNotDeclaredException as error:
            self._node.get_logger().debug(f"Failed to get parameter types: {error}")
        return response

    def _list_parameters(self, request, response):
        response.result = self._node.list_parameters(list(request.prefixes), request.depth)
        return response

    def _set_parameters(self, request, response):
        response.results = [self._set_one(message) for message in request.parameters]
        return response

    def _set_one(self, message) -> SetParametersResult:
        return self._set_atomically([Parameter.from_parameter_msg(message)])

    def _set_parameters_atomically(self, request, response):
        parameters = [Parameter.from_parameter_msg(message) for message in request.parameters]
        response.result = self._set_atomically(parameters)
        return response

    def _set_atomically(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            return self._node.set_parameters_atomically(parameters)
        except ParameterNotDeclaredException as error:
            return SetParametersResult(successful=False, reason=str(error))
