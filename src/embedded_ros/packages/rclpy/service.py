"""Services: receive requests and send responses."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from embedded_ros import cdr, dds, dds_types, graph, graph_samples, qos_mapping
from rclpy._rclpy_pybind11 import InvalidHandle
from rclpy.qos import copy_of

# The request of a new client may arrive before the client can receive responses: the response
# waits for that up to this long, as in rmw_cyclonedds.
REPLY_MATCH_TIMEOUT_S = 1.0
HISTORY = 1000  # queued requests or responses


@dataclass(frozen=True)
class RequestId:
    """Identifies a request by client and sequence number; sent back with the response."""

    guid: int
    sequence_number: int
    publication_handle: int


def new_identity(role: str, participant: dds.Participant) -> str:
    """Return a USER_DATA entry shared by the reader and writer of one service or client, so that
    others can pair them. ``role`` is "serviceid" or "clientid"."""
    guid = participant.guid[:12] + participant.next_number().to_bytes(4, "big")
    return f"{role}={guid[0]:02x}." + ".".join(f"{byte:x}" for byte in guid[1:]) + ";"


def identities(role: str, user_data: Iterable[bytes]) -> set[str]:
    """Return the service or client identities of endpoints; those without one are skipped."""
    found = (graph_samples.user_data_entry(item, role) for item in user_data)
    return {identity for identity in found if identity is not None}


def service_qos(profile: Any, type_name: str, identity: str) -> Any:
    """Return the DDS policies of the reader or writer of a service or client.

    The default depth of 10 loses requests when more are in progress, and every client receives
    the responses to all others. So histories are longer, which does not affect compatibility.
    """
    longer = copy_of(profile, depth=max(profile.depth, HISTORY))
    user_data = identity.encode() + dds_types.type_hash_user_data(type_name)
    return qos_mapping.to_dds(longer, user_data)


class Service:
    """A service of one type. Created by ``Node.create_service``."""

    def __init__(
        self,
        node: Any,
        srv_type: Any,
        srv_name: str,
        callback: Callable[[Any, Any], Any],
        callback_group: Any,
        qos_profile: Any,
    ) -> None:
        self._node, self.srv_type, self.srv_name = node, srv_type, srv_name
        self.callback, self.callback_group, self.qos_profile = callback, callback_group, qos_profile
        participant = node.context.participant
        identity = new_identity("serviceid", participant)
        request, response = srv_type.Request.TYPE_NAME, srv_type.Response.TYPE_NAME
        self._reader: dds.Reader | None = dds.Reader(
            participant,
            graph.mangle(graph.REQUEST, srv_name, "Request"),
            dds_types.service_type(request),
            service_qos(qos_profile, request, identity),
        )
        self._writer = dds.Writer(
            participant,
            graph.mangle(graph.REPLY, srv_name, "Reply"),
            dds_types.service_type(response),
            service_qos(qos_profile, response, identity),
        )
        self._condition = self._reader.condition

    @property
    def service_name(self) -> str:
        return self.srv_name

    @property
    def handle(self) -> Service:
        return self

    def _take_job(self) -> Callable[[], Any] | None:
        reader = self._reader
        sample = reader.take() if reader is not None else None
        if sample is None:
            return None
        try:
            guid, number, body = dds.split_service_body(sample.data)
            request = cdr.deserialize(body, self.srv_type.Request.TYPE_NAME)
        except ValueError as error:
            self._node.get_logger().error(f"'{self.srv_name}': a request is dropped: {error}")
            return None
        identity = RequestId(guid, number, sample.publication_handle)
        return lambda: self._answer(request, identity)

    def _answer(self, request: Any, identity: RequestId) -> Any:
        response = self.callback(request, self.srv_type.Response())
        if inspect.iscoroutinefunction(self.callback):
            return self._answer_later(response, identity)
        self.send_response(response, identity)
        return None

    async def _answer_later(self, coroutine: Any, identity: RequestId) -> None:
        self.send_response(await coroutine, identity)

    def send_response(self, response: Any, header: RequestId) -> None:
        """Send the response to one request.

        Raises:
            TypeError: if the callback did not return a response of this service's type.
        """
        if not isinstance(response, self.srv_type.Response):
            raise TypeError(
                f"the callback of '{self.srv_name}' must return {self.srv_type.Response}, "
                f"got {type(response)}"
            )
        if self._reader is None:
            raise InvalidHandle(f"the service '{self.srv_name}' was destroyed")
        data = dds.join_service_body(header.guid, header.sequence_number, cdr.serialize(response))
        if not self._is_reachable(header.publication_handle):
            self._node.get_logger().warning(
                f"'{self.srv_name}': a client that cannot be reached will not receive its response"
            )
            return
        try:
            self._writer.write(data)
        except TimeoutError:
            self._node.get_logger().warning(
                f"'{self.srv_name}': a client is too slow to be answered"
            )

    def _is_reachable(self, publication_handle: int) -> bool:
        """Return True if the client of a request can receive the response; a new client is
        waited for. Also True if it has left or gives no identity."""
        end = time.monotonic() + REPLY_MATCH_TIMEOUT_S
        while (reader := self._reader) is not None:
            user_data = reader.writer_user_data(publication_handle)
            client = identities("clientid", [user_data] if user_data is not None else [])
            if client <= identities("clientid", self._writer.matched_user_data()):
                return True
            if time.monotonic() > end:
                return False
            time.sleep(0.002)
        return True

    def _guids(self) -> tuple[list[bytes], list[bytes]]:
        return ([self._reader.guid] if self._reader else []), [self._writer.guid]

    def destroy(self) -> None:
        """Close it; use ``Node.destroy_service``."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
            self._writer.close()
