"""Parameters of a node: declaring, getting, describing, undeclaring."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rcl_interfaces.msg import (
    ListParametersResult,
    ParameterDescriptor,
    ParameterEvent,
    ParameterValue,
)
from rcl_interfaces.msg import (
    Parameter as ParameterMsg,
)

from rclpy._parameter_declaration import Declaration, parse_declaration
from rclpy._parameter_rules import WRONG_TYPE, check_name
from rclpy._parameter_setting import ParameterSetting
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
    ParameterAlreadyDeclaredException,
    ParameterImmutableException,
    ParameterNotDeclaredException,
    ParameterUninitializedException,
)
from rclpy.parameter import PARAMETER_SEPARATOR_STRING, Parameter
from rclpy.parameter_service import ParameterService
from rclpy.qos import qos_profile_parameter_events


class NodeParametersMixin(ParameterSetting):
    """Base of Node. Any thread may read parameters; setting is serialised by a lock."""

    def _initialise_parameters(
        self,
        overrides: Mapping[str, Any],
        allow_undeclared: bool,
        automatically_declare: bool,
        start_parameter_services: bool,
    ) -> None:
        """Initialise; called once, at the end of Node's constructor.

        Args:
            overrides: values from the command line, files and the constructor; Parameter objects
                or plain values.
        """
        self._parameters: dict[str, Parameter] = {}
        self._descriptors: dict[str, ParameterDescriptor] = {}
        self._parameter_lock = threading.RLock()  # for setting; held while callbacks run
        self._pre_set_parameters_callbacks: list[Callable] = []
        self._on_set_parameters_callbacks: list[Callable] = []
        self._post_set_parameters_callbacks: list[Callable] = []
        self._allow_undeclared_parameters = allow_undeclared
        self._parameter_overrides = {n: _to_parameter(n, v) for n, v in overrides.items()}
        self._parameter_event_publisher = self.create_publisher(
            ParameterEvent, "/parameter_events", qos_profile_parameter_events
        )
        if automatically_declare:
            given = self._parameter_overrides.items()
            self.declare_parameters("", [(name, item.value) for name, item in given], True)
        self._clock_source.attach_node(self)
        self._clock_source.attach_clock(self._clock)
        self._parameter_service = ParameterService(self) if start_parameter_services else None

    # --- declaring ----------------------------------------------------------------------------

    def declare_parameter(
        self,
        name: str,
        value: Any = None,
        descriptor: ParameterDescriptor | None = None,
        ignore_override: bool = False,
    ) -> Parameter:
        """Declare one parameter and return it; see ``declare_parameters``."""
        if value is None and descriptor is None:
            entry: tuple = (name,)
        else:
            entry = (name, value, ParameterDescriptor() if descriptor is None else descriptor)
        return self.declare_parameters("", [entry], ignore_override)[0]

    def declare_parameters(
        self, namespace: str, parameters: Sequence[tuple], ignore_override: bool = False
    ) -> list[Parameter]:
        """Declare ``(name)``, ``(name, default or Parameter.Type)`` or ``(…, descriptor)`` tuples.

        An override from the command line or a file replaces the default. The callbacks of
        ``add_on_set_parameters_callback`` and ``add_post_set_parameters_callback`` are called
        once for each parameter.

        Raises:
            ParameterAlreadyDeclaredException, InvalidParameterException,
            InvalidParameterTypeException (the override has another type),
            InvalidParameterValueException (outside its range, or refused by a callback),
            TypeError, ValueError (a malformed tuple).
        """
        declarations = [parse_declaration(namespace, entry) for entry in parameters]
        with self._parameter_lock:
            known = [d.name for d in declarations if d.name in self._parameters]
            if known:
                raise ParameterAlreadyDeclaredException(known)
            return [self._parameters_declare(item, ignore_override) for item in declarations]

    def _parameters_declare(self, item: Declaration, ignore_override: bool) -> Parameter:
        override = None if ignore_override else self._parameter_overrides.get(item.name)
        parameter = item.parameter(override)
        result = self._parameters_set([parameter], {item.name: item.descriptor}, declaring=True)
        if not result.successful and result.reason.startswith(WRONG_TYPE):
            expected = Parameter.Type(int(item.descriptor.type))
            raise InvalidParameterTypeException(parameter, expected.name)
        if not result.successful:
            raise InvalidParameterValueException(item.name, parameter.value, result.reason)
        return self._parameters[item.name]

    def undeclare_parameter(self, name: str) -> None:
        """Remove a parameter; raises ParameterImmutableException if it is read-only."""
        with self._parameter_lock:
            self._parameters_check_declared([name], allow=False)
            if self._descriptors[name].read_only:
                raise ParameterImmutableException(name)
            self._parameters_forget(name)

    # --- getting ------------------------------------------------------------------------------

    def has_parameter(self, name: str) -> bool:
        return name in self._parameters

    def get_parameter(self, name: str) -> Parameter:
        """Return a parameter.

        An undeclared one is returned without value if the node allows undeclared parameters.

        Raises:
            ParameterNotDeclaredException: if it is not declared, and the node does not allow that.
            ParameterUninitializedException: if declared with a type only and never set.
        """
        parameter = self._parameters.get(name)
        if parameter is None:
            self._parameters_check_declared([name])
            return Parameter(name, Parameter.Type.NOT_SET, None)
        descriptor = self._descriptors.get(name)
        if parameter.type_ is Parameter.Type.NOT_SET and not (
            descriptor is not None and descriptor.dynamic_typing
        ):
            raise ParameterUninitializedException(name)
        return parameter

    def get_parameters(self, names: list[str]) -> list[Parameter]:
        """Return the parameters, in order; raises TypeError if a name is not a string."""
        if not all(isinstance(name, str) for name in names):
            raise TypeError("All names must be instances of type str")
        return [self.get_parameter(name) for name in names]

    def get_parameter_or(self, name: str, alternative_value: Parameter | None = None) -> Parameter:
        """Return the parameter if it is declared and has a value, else the alternative."""
        parameter = self._parameters.get(name)
        if parameter is not None and parameter.type_ is not Parameter.Type.NOT_SET:
            return parameter
        if alternative_value is None:
            return Parameter(name, Parameter.Type.NOT_SET)
        return alternative_value

    def get_parameter_type(self, name: str) -> int:
        """Return the type's number; NOT_SET if undeclared and the node allows that."""
        parameter = self._parameters.get(name)
        if parameter is None:
            self._parameters_check_declared([name])
            return Parameter.Type.NOT_SET
        return parameter.type_.value

    def get_parameter_types(self, names: list[str]) -> list[int]:
        return [self.get_parameter_type(name) for name in names]

    def get_parameters_by_prefix(self, prefix: str) -> dict[str, Parameter]:
        """Return the parameters below ``prefix``, keyed without it; "" returns all."""
        start = prefix + PARAMETER_SEPARATOR_STRING if prefix else ""
        known = dict(self._parameters)
        return {n.removeprefix(start): p for n, p in known.items() if n.startswith(start)}

    def list_parameters(self, prefixes: list[str], depth: int) -> ListParametersResult:
        """Return names below any of the prefixes (none: all names), at most ``depth`` levels deep.

        Depth 0 means all levels. Raises TypeError or ValueError for invalid arguments.
        """
        if not isinstance(prefixes, list) or not all(isinstance(p, str) for p in prefixes):
            raise TypeError("The prefixes must be a list of str")
        if depth < 0:
            raise ValueError(f"expected a depth of 0 (all) or more, got {depth}")
        names = [n for n in list(self._parameters) if _is_below(n, prefixes, depth)]
        parents = {n.rpartition(PARAMETER_SEPARATOR_STRING)[0] for n in names}
        return ListParametersResult(names=sorted(names), prefixes=sorted(parents - {""}))

    # --- describing ---------------------------------------------------------------------------

    def describe_parameter(self, name: str) -> ParameterDescriptor:
        """Return the descriptor; an empty one if undeclared and the node allows that."""
        descriptor = self._descriptors.get(name)
        if descriptor is None:
            self._parameters_check_declared([name])
            return ParameterDescriptor()
        return descriptor

    def describe_parameters(self, names: list[str]) -> list[ParameterDescriptor]:
        return [self.describe_parameter(name) for name in names]

    def set_descriptor(
        self,
        name: str,
        descriptor: ParameterDescriptor,
        alternative_value: ParameterValue | None = None,
    ) -> ParameterValue:
        """Replace a descriptor and return the value: the alternative if the current one does not
        fit. As in rclpy, the descriptor must give the type, or set dynamic typing.

        Raises:
            ParameterNotDeclaredException, ParameterImmutableException (read-only until now),
            InvalidParameterValueException (the value does not fit the new descriptor).
        """
        with self._parameter_lock:
            self._parameters_check_declared([name])
            if name not in self._parameters:
                return Parameter(name, Parameter.Type.NOT_SET).get_parameter_value()
            if self._descriptors[name].read_only:
                raise ParameterImmutableException(name)
            descriptor.name = name
            parameter = self.get_parameter(name)
            result = self._parameters_check(parameter, descriptor, False)
            if not result.successful and alternative_value is not None:
                message = ParameterMsg(name=name, value=alternative_value)
                parameter = Parameter.from_parameter_msg(message)
                result = self._parameters_check(parameter, descriptor, False)
            if not result.successful:
                raise InvalidParameterValueException(name, parameter.value, result.reason)
            self._parameters[name], self._descriptors[name] = parameter, descriptor
            return parameter.get_parameter_value()

    def _parameters_check_declared(self, names: Sequence[str], allow: bool = True) -> None:
        if allow and self._allow_undeclared_parameters:
            return
        unknown = [name for name in names if check_name(name) not in self._parameters]
        if unknown:
            raise ParameterNotDeclaredException(unknown)


def _to_parameter(name: str, value: Any) -> Parameter:
    if isinstance(value, Parameter):
        return value
    try:
        return Parameter(name, value=value)
    except TypeError as error:
        raise TypeError(f"parameter '{name}': {error}") from error


def _is_below(name: str, prefixes: list[str], depth: int) -> bool:
    separator = PARAMETER_SEPARATOR_STRING
    if not prefixes:
        return not depth or name.count(separator) < depth
    for prefix in prefixes:
        if name == prefix:
            return True
        if name.startswith(prefix + separator):
            rest = name[len(prefix) + 1 :]
            if not depth or rest.count(separator) < depth:
                return True
    return False
