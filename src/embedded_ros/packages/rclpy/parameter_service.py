"""The six services through which ``ros2 param`` reaches a node's parameters."""

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
    """Creates and answers the services of one node."""

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
        # As in rclpy: without undeclared parameters one unknown name leaves the answer empty.
        try:
            response.values = [self._value_of(name) for name in request.names]
        except ParameterNotDeclaredException as error:
            self._node.get_logger().debug(f"Failed to get parameters: {error}")
        return response

    def _value_of(self, name: str):
        try:
            parameter = self._node.get_parameter(name)
        except ParameterUninitializedException:
            parameter = Parameter(name, Parameter.Type.NOT_SET)
        return parameter.get_parameter_value()

    def _get_parameter_types(self, request, response):
        try:
            types = self._node.get_parameter_types(list(request.names))
            response.types = [type_.value for type_ in types]
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
        try:
            return self._node.set_parameters([Parameter.from_parameter_msg(message)])[0]
        except (ParameterNotDeclaredException, ValueError) as error:
            return SetParametersResult(successful=False, reason=str(error))

    def _set_parameters_atomically(self, request, response):
        try:
            parameters = [Parameter.from_parameter_msg(p) for p in request.parameters]
            response.result = self._node.set_parameters_atomically(parameters)
        except (ParameterNotDeclaredException, ValueError) as error:
            response.result = SetParametersResult(successful=False, reason=str(error))
        return response
