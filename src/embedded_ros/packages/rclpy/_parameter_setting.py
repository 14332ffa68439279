"""Setting a node's parameters: the chain of callbacks, the store, the event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

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
    """The part of Node that changes parameters."""

    # --- callbacks ----------------------------------------------------------------------------
    # The newest is called first, as in rclpy.

    def add_pre_set_parameters_callback(self, callback: PreSetCallback) -> None:
        """Let ``callback`` change the list of parameters before anything is checked."""
        self._pre_set_parameters_callbacks.insert(0, callback)

    def add_on_set_parameters_callback(self, callback: OnSetCallback) -> None:
        """Let ``callback`` accept or refuse; it must have no side effects."""
        self._on_set_parameters_callbacks.insert(0, callback)

    def add_post_set_parameters_callback(self, callback: PostSetCallback) -> None:
        """Call ``callback`` with the parameters that were set."""
        self._post_set_parameters_callbacks.insert(0, callback)

    def remove_pre_set_parameters_callback(self, callback: PreSetCallback) -> None:
        self._pre_set_parameters_callbacks.remove(callback)

    def remove_on_set_parameters_callback(self, callback: OnSetCallback) -> None:
        self._on_set_parameters_callbacks.remove(callback)

    def remove_post_set_parameters_callback(self, callback: PostSetCallback) -> None:
        self._post_set_parameters_callbacks.remove(callback)

    # --- setting ------------------------------------------------------------------------------

    def set_parameters(self, parameter_list: list[Parameter]) -> list[SetParametersResult]:
        """Set one parameter after the other; one result each.

        Raises:
            ParameterNotDeclaredException: before anything is set, unless undeclared parameters
                are allowed.
        """
        with self._parameter_lock:
            self._parameters_check(parameter_list)
            return [self._parameters_set([parameter]) for parameter in parameter_list]

    def set_parameters_atomically(self, parameter_list: list[Parameter]) -> SetParametersResult:
        """Set all parameters or none; raises as ``set_parameters``."""
        with self._parameter_lock:
            self._parameters_check(parameter_list)
            return self._parameters_set(list(parameter_list))

    def _parameters_check(self, parameter_list: Sequence[Parameter]) -> None:
        if not all(isinstance(parameter, Parameter) for parameter in parameter_list):
            raise TypeError("Parameter must be instance of type 'rclpy.parameter.Parameter'")
        self._parameters_check_declared([parameter.name for parameter in parameter_list])

    def _parameters_set(
        self,
        parameters: list[Parameter],
        new_descriptors: Mapping[str, ParameterDescriptor] | None = None,
        declaring: bool = False,
    ) -> SetParametersResult:
        if not declaring and self._pre_set_parameters_callbacks:
            for callback in list(self._pre_set_parameters_callbacks):
                parameters = callback(parameters)
            self._parameters_check(parameters)
        if not parameters:
            return SetParametersResult(successful=False, reason=EMPTY_LIST)
        descriptors = {
            p.name: self._parameters_descriptor(p, new_descriptors or {}) for p in parameters
        }
        result = self._parameters_refusal(parameters, descriptors, declaring)
        if not result.successful:
            return result
        self._parameters_apply(parameters, descriptors)
        for callback in list(self._post_set_parameters_callbacks):
            callback(parameters)
        return result

    def _parameters_descriptor(
        self, parameter: Parameter, new: Mapping[str, ParameterDescriptor]
    ) -> ParameterDescriptor:
        descriptor = new.get(parameter.name) or self._descriptors.get(parameter.name)
        if descriptor is None:  # undeclared, and allowed
            descriptor = ParameterDescriptor(name=parameter.name, dynamic_typing=True)
        return descriptor

    def _parameters_refusal(
        self,
        parameters: list[Parameter],
        descriptors: Mapping[str, ParameterDescriptor],
        declaring: bool,
    ) -> SetParametersResult:
        for parameter in parameters:
            result = check_value(parameter, descriptors[parameter.name], not declaring)
            if not result.successful:
                return result
        for callback in list(self._on_set_parameters_callbacks):
            result = callback(parameters)
            if not isinstance(result, SetParametersResult):
                raise TypeError(
                    "Callback returned an invalid type, it should return SetParameterResult."
                )
            if not result.successful:
                return result
        return SetParametersResult(successful=True)

    # --- storing ------------------------------------------------------------------------------

    def _parameters_apply(
        self, parameters: list[Parameter], descriptors: Mapping[str, ParameterDescriptor]
    ) -> None:
        event = ParameterEvent(
            stamp=self.get_clock().now().to_msg(), node=self.get_fully_qualified_name()
        )
        for parameter in parameters:
            self._parameters_change(parameter, event).append(parameter.to_parameter_msg())
            if parameter.type_ is Parameter.Type.NOT_SET:
                self._parameters_forget(parameter.name)
            else:
                self._parameters_store(parameter, descriptors[parameter.name])
        self._parameter_event_publisher.publish(event)

    def _parameters_change(self, parameter: Parameter, event: ParameterEvent) -> list:
        before = self._parameters.get(parameter.name)
        if parameter.type_ is Parameter.Type.NOT_SET:
            return event.deleted_parameters
        if before is None or before.type_ is Parameter.Type.NOT_SET:
            return event.new_parameters
        return event.changed_parameters

    def _parameters_store(self, parameter: Parameter, descriptor: ParameterDescriptor) -> None:
        if descriptor.dynamic_typing or not descriptor.type:
            descriptor.type = parameter.type_.value
        self._descriptors[parameter.name] = descriptor
        self._parameters[parameter.name] = parameter
        if parameter.name == "use_sim_time" and parameter.type_ is Parameter.Type.BOOL:
            self._clock_source.set_use_sim_time(parameter.value)

    def _parameters_forget(self, name: str) -> None:
        self._parameters.pop(name, None)
        self._descriptors.pop(name, None)
