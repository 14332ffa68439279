"""Service clients."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

from embedded_ros import cdr, dds, dds_types, graph
from rclpy._rclpy_pybind11 import InvalidHandle, RCLError
from rclpy.service import identities, new_identity, service_qos
from rclpy.task import Future


class Client:
    """Calls a service of one type. Made by ``Node.create_client``."""

    def __init__(
        self, node: Any, srv_type: Any, srv_name: str, qos_profile: Any, callback_group: Any
    ) -> None:
        self._node, self.srv_type, self.srv_name = node, srv_type, srv_name
        self.qos_profile, self.callback_group = qos_profile, callback_group
        self.context = node.context
        participant = node.context.participant
        identity = new_identity("clientid", participant)
        request, response = srv_type.Request.TYPE_NAME, srv_type.Response.TYPE_NAME
        self._reader: dds.Reader | None = dds.Reader(
            participant,
            graph.mangle(graph.REPLY, srv_name, "Reply"),
            dds_types.service_type(response),
            service_qos(qos_profile, response, identity),
        )
        self._writer = dds.Writer(
            participant,
            graph.mangle(graph.REQUEST, srv_name, "Request"),
            dds_types.service_type(request),
            service_qos(qos_profile, request, identity),
        )
        self._condition = self._reader.condition
        self._guid = self._writer.instance_handle
        self._lock = threading.Lock()
        self._pending_requests: dict[int, Future] = {}
        self._last_number = 0

    @property
    def service_name(self) -> str:
        return self.srv_name

    @property
    def handle(self) -> Client:
        return self

    def call(self, request: Any, timeout_sec: float | None = None) -> Any:
        """Call and wait. Another thread must spin; never from a callback of the same group.

        Returns:
            The response; None after ``timeout_sec`` seconds.
        """
        done = threading.Event()
        future = self.call_async(request)
        future.add_done_callback(lambda _: done.set())
        if not future.done() and not done.wait(timeout_sec):
            self.remove_pending_request(future)
        return future.result()

    def call_async(self, request: Any) -> Future:
        """Send a request and return a future, whose result is the response.

        Raises:
            TypeError: if it is not a request of this client's type.
            InvalidHandle, RCLError: if the client was destroyed, or its context shut down.
        """
        if not isinstance(request, self.srv_type.Request):
            raise TypeError(f"Expected {self.srv_type.Request}, got {type(request)}")
        if self._reader is None:
            raise InvalidHandle(f"the client of '{self.srv_name}' was destroyed")
        if not self.context.ok():
            raise RCLError("Failed to call: the client's context is invalid")
        future = Future()
        with self._lock:
            self._last_number += 1
            number = self._last_number
            self._pending_requests[number] = future
        future.add_done_callback(self.remove_pending_request)
        data = dds.join_service_body(self._guid, number, cdr.serialize(request))
        try:
            self._writer.write(data)
        except TimeoutError as error:
            self.remove_pending_request(future)
            raise RCLError(f"'{self.srv_name}': the request could not be sent: {error}") from error
        return future

    def get_pending_request(self, sequence_number: int) -> Future:
        """Return the future of a request; raises KeyError if it is not pending."""
        with self._lock:
            return self._pending_requests[sequence_number]

    def remove_pending_request(self, future: Future) -> None:
        """Stop waiting for the response of ``future``."""
        with self._lock:
            pending = self._pending_requests.items()
            self._pending_requests = {n: item for n, item in pending if item is not future}

    def service_is_ready(self) -> bool:
        """Return True if a server is matched for both requests and responses."""
        reader = self._reader
        if reader is None:
            return False
        heard, hearing = self._writer.matched_user_data(), reader.matched_user_data()
        servers = identities("serviceid", heard)
        if not servers:  # the endpoints do not tell their service
            return bool(heard and hearing)
        return not servers.isdisjoint(identities("serviceid", hearing))

    def wait_for_service(self, timeout_sec: float | None = None) -> bool:
        """Wait for a server; returns False after ``timeout_sec`` seconds or at shutdown."""
        end = math.inf if timeout_sec is None else time.monotonic() + timeout_sec
        while self.context.ok() and not self.service_is_ready() and time.monotonic() < end:
            time.sleep(0.01)
        return self.service_is_ready()

    def _take_job(self) -> Callable[[], Any] | None:
        reader = self._reader
        while reader is not None:
            sample = reader.take()
            if sample is None:
                return None
            guid, number, body = dds.split_service_body(sample.data)
            if guid == self._guid:  # ignore responses to other clients
                response = cdr.deserialize(body, self.srv_type.Response.TYPE_NAME)
                return lambda number=number: self._finish(number, response)
        return None

    def _finish(self, number: int, response: Any) -> None:
        with self._lock:
            future = self._pending_requests.get(number)
        if future is not None:  # otherwise the request was removed
            future._set_executor(self._node.executor)
            future.set_result(response)

    def _guids(self) -> tuple[list[bytes], list[bytes]]:
        return ([self._reader.guid] if self._reader else []), [self._writer.guid]

    def destroy(self) -> None:
        """Close it; use ``Node.destroy_client``. Pending futures are never completed."""
        reader, self._reader = self._reader, None
        if reader is None:
            return
        reader.close()
        self._writer.close()
