"""Sets a node's parameters: runs callbacks, stores values, publishes events."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rcl_interfaces.msg import ParameterDescriptor, ParameterEvent, SetParametersResult

from rclpy._parameter_rules import check_value
from rclpy.parameter import Parameter

EMPTY_LIST = (
    "parameter list cannot be empty, this might be due to pre_set_parameters_callback modifying "
    "the original parameters list."
)
PreSetCallback = Callable[[list[Parameter]], list[Parameter]]
OnSetCallback = Callable[[list[Parameter]], SetParametersResult]
PostSetCallback = Callable[[list[Parameter]], None]


class ParameterSetting:
    """Base of Node that sets parameters."""

    # --- callbacks ----------------------------------------------------------------------------
    # The newest is called first, as in rclpy.

    def add_pre_set_parameters_callback(self, callback: PreSetCallback) -> None:
        """Call ``callback`` before the checks; it may change the list of parameters."""
        self._pre_set_parameters_callbacks.insert(0, callback)

    def add_on_set_parameters_callback(self, callback: OnSetCallback) -> None:
        """Let ``callback`` accept or reject parameters; it must not have side effects."""
        self._on_set_parameters_callbacks.insert(0, callback)

    def add_post_set_parameters_callback(self, callback: PostSetCallback) -> None:
        """Call ``callback`` with the parameters after they were set."""
        self._post_set_parameters_callbacks.insert(0, callback)

    def remove_pre_set_parameters_callback(self, callback: PreSetCallback) -> None:
        self._pre_set_parameters_callbacks.remove(callback)

    def remove_on_set_parameters_callback(self, callback: OnSetCallback) -> None:
        self._on_set_parameters_callbacks.remove(callback)

    def remove_post_set_parameters_callback(self, callback: PostSetCallback) -> None:
        self._post_set_parameters_callbacks.remove(callback)

    # --- setting ------------------------------------------------------------------------------

    def set_parameters(self, parameter_list: list[Parameter]) -> list[SetParametersResult]:
        """Set parameters one by one; returns one result each.

        Raises:
            ParameterNotDeclaredException: if one is undeclared and that is not allowed; those
                before it are set.
        """
        return [self.set_parameters_atomically([parameter]) for parameter in parameter_list]

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set all parameters or none; raises like ``set_parameters``."""
        with self._parameter_lock:
            if self._pre_set_parameters_callbacks:
                callbacks = list(self._pre_set_parameters_callbacks)
                parameter_list = [item for call in callbacks for item in call(parameter_list)]
                if not parameter_list:
                    return SetParametersResult(successful=False, reason=EMPTY_LIST)
            if not all(isinstance(parameter, Parameter) for parameter in parameter_list):
                raise TypeError("Parameter must be instance of type 'rclpy.parameter.Parameter'")
            self._parameters_check_declared([parameter.name for parameter in parameter_list])
            return self._parameters_set(parameter_list, self._descriptors)

    def _parameters_set(
        self,
        parameters: list[Parameter],
        descriptors: Mapping[str, ParameterDescriptor],
        declaring: bool = False,
    ) -> SetParametersResult:
        for parameter in parameters:
            if parameter.name in descriptors:
                result = self._parameters_check(
                    parameter, descriptors[parameter.name], not declaring
                )
                if not result.successful:
                    return result
        for callback in list(self._on_set_parameters_callbacks):
            result = callback(parameters)
            if not result.successful:
                return result
        self._parameters_apply(parameters, descriptors, declaring)
        for callback in list(self._post_set_parameters_callbacks):
            callback(parameters)
        return SetParametersResult(successful=True)

    def _parameters_check(
        self, parameter: Parameter, descriptor: ParameterDescriptor, check_read_only: bool
    ) -> SetParametersResult:
        """Check the value; a dynamically typed descriptor adopts the value's type."""
        is_declared = parameter.name in self._parameters
        result = check_value(parameter, descriptor, is_declared, check_read_only)
        if descriptor.dynamic_typing and not (check_read_only and descriptor.read_only):
            descriptor.type = parameter.type_.value
        return result

    # --- storing ------------------------------------------------------------------------------

    def _parameters_apply(
        self,
        parameters: list[Parameter],
        descriptors: Mapping[str, ParameterDescriptor],
        declaring: bool,
    ) -> None:
        event = ParameterEvent(node=self.get_fully_qualified_name())
        for parameter in parameters:
            if parameter.type_ is Parameter.Type.NOT_SET and not declaring:
                self._parameters_forget(parameter.name)
                event.deleted_parameters.append(parameter.to_parameter_msg())
                continue
            known = self._parameters.get(parameter.name)
            is_new = known is None or known.type_ is Parameter.Type.NOT_SET
            changes = event.new_parameters if is_new else event.changed_parameters
            changes.append(parameter.to_parameter_msg())
            free = ParameterDescriptor(dynamic_typing=True)  # for allowed undeclared parameters
            self._descriptors[parameter.name] = descriptors.get(parameter.name, free)
            self._parameters[parameter.name] = parameter
        event.stamp = self.get_clock().now().to_msg()
        self._parameter_event_publisher.publish(event)

    def _parameters_forget(self, name: str) -> None:
        self._parameters.pop(name, None)
        self._descriptors.pop(name, None)
