"""How this process finds others: ROS's discovery variables as a Cyclone DDS configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

RANGES = ("SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT")
DEFAULT_RANGE = "LOCALHOST"  # nobody joins a robot's network unasked
MAX_DOMAIN_ID = 232  # the highest with UDP ports of its own

# Large samples (images, clouds, maps) on the loopback: few big datagrams instead of many small
# ones, and a writer that is not throttled by the first unacknowledged image. A peer that does not
# answer may be started later: Cyclone would give it up after 30 s.
TUNING = (
    "<CycloneDDS><Domain><General><MaxMessageSize>65500B</MaxMessageSize>"
    "<FragmentSize>60000B</FragmentSize></General>"
    "<Internal><SocketReceiveBufferSize max='16MB'/><Watermarks><WhcHigh>32MB</WhcHigh>"
    "</Watermarks></Internal>"
    "<Discovery><InitialLocatorPruneDelay>inf</InitialLocatorPruneDelay></Discovery>"
    "</Domain></CycloneDDS>"
)


def domain_id(environment: Mapping[str, str] = os.environ) -> int:
    """The domain of ``ROS_DOMAIN_ID``; 0 where it is not set.

    Raises:
        ValueError: not an integer in 0..232.
    """
    text = environment.get("ROS_DOMAIN_ID", "").strip() or "0"
    if not text.isdigit() or int(text) > MAX_DOMAIN_ID:
        raise ValueError(f"ROS_DOMAIN_ID: expected an integer 0..{MAX_DOMAIN_ID}, got {text!r}")
    return int(text)


def discovery_range(environment: Mapping[str, str] = os.environ) -> str:
    """One of ``RANGES``, from ``ROS_AUTOMATIC_DISCOVERY_RANGE`` or ``ROS_LOCALHOST_ONLY``.

    Raises:
        ValueError: a name that is not one of them.
    """
    name = environment.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").strip().upper()
    if not name:
        return DEFAULT_RANGE
    if name not in RANGES:
        raise ValueError(
            f"ROS_AUTOMATIC_DISCOVERY_RANGE: expected one of {', '.join(RANGES)}, got {name!r}"
        )
    return name


def configuration(environment: Mapping[str, str] = os.environ) -> str:
    """The comma-separated Cyclone DDS configuration: later parts win, CYCLONEDDS_URI is last.

    It follows rmw_cyclonedds: unicast to the participants of this machine for LOCALHOST and to
    ROS_STATIC_PEERS, multicast besides for SUBNET, a domain tag of its own for OFF.
    """
    parts = [TUNING]
    reach = discovery_range(environment)
    if reach != "SYSTEM_DEFAULT":
        parts.append(_range_xml(reach, environment.get("ROS_STATIC_PEERS", "")))
    if uri := environment.get("CYCLONEDDS_URI", "").strip():
        parts.append(uri)
    return ",".join(parts)


def _range_xml(reach: str, static_peers: str) -> str:
    general, discovery = "", "<ParticipantIndex>auto</ParticipantIndex>"
    discovery += "<MaxAutoParticipantIndex>32</MaxAutoParticipantIndex>"
    peers = [peer.strip() for peer in static_peers.split(";") if peer.strip()]
    if reach == "LOCALHOST":
        peers.insert(0, "localhost")
    if reach != "SUBNET":
        general = "<General><AllowMulticast>false</AllowMulticast></General>"
    if reach == "OFF":
        peers = []
        discovery = "<ParticipantIndex>none</ParticipantIndex>"
        discovery += f"<Tag>ros_discovery_off_{os.getpid()}</Tag>"
    if peers:
        # A process that announces itself by multicast alone (ROS's default range) hears of this
        # one by the next of these announcements; the default is half a minute.
        discovery += "<SPDPInterval>2s</SPDPInterval>"
        items = "".join(f"<Peer address={quoteattr(peer)}/>" for peer in peers)
        discovery += f"<Peers>{items}</Peers>"
    return f"<CycloneDDS><Domain>{general}<Discovery>{discovery}</Discovery></Domain></CycloneDDS>"
