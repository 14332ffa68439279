"""Discovery settings: converts ROS's environment variables to a Cyclone DDS configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from xml.sax.saxutils import quoteattr

RANGES = ("SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT")
DEFAULT_RANGE = "LOCALHOST"  # joining a robot's network must be explicit
MAX_DOMAIN_ID = 232  # the highest with valid UDP ports

# For large samples (images, clouds, maps) on loopback: few big datagrams instead of many small
# ones, and no throttling of a writer by the first unacknowledged image. A peer that does not
# answer may start later, but Cyclone's default gives it up after 30 s.
TUNING = (
    "<CycloneDDS><Domain><General><MaxMessageSize>65500B</MaxMessageSize>"
    "<FragmentSize>60000B</FragmentSize></General>"
    "<Internal><SocketReceiveBufferSize max='16MB'/><Watermarks><WhcHigh>32MB</WhcHigh>"
    "</Watermarks></Internal>"
    "<Discovery><InitialLocatorPruneDelay>inf</InitialLocatorPruneDelay></Discovery>"
    "</Domain></CycloneDDS>"
)


def domain_id(environment: Mapping[str, str] = os.environ) -> int:
    """Return the domain of ``ROS_DOMAIN_ID``; 0 if it is not set.

    Raises:
        ValueError: if it is not an integer in 0..232.
    """
    text = environment.get("ROS_DOMAIN_ID", "").strip() or "0"
    if not text.isdigit() or int(text) > MAX_DOMAIN_ID:
        raise ValueError(f"ROS_DOMAIN_ID: expected an integer 0..{MAX_DOMAIN_ID}, got {text!r}")
    return int(text)


def discovery_range(environment: Mapping[str, str] = os.environ) -> str:
    """Return one of ``RANGES``, from ``ROS_AUTOMATIC_DISCOVERY_RANGE`` or ``ROS_LOCALHOST_ONLY``.

    Raises:
        ValueError: if the value is not one of them.
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
    """Return the comma-separated Cyclone DDS configuration; later parts override earlier ones.

    As in rmw_cyclonedds: unicast to participants on this machine (LOCALHOST) and to
    ROS_STATIC_PEERS, additionally multicast for SUBNET, a unique domain tag for OFF. The user's
    CYCLONEDDS_URI comes last.
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
        # A process that announces itself only by multicast (ROS's default range) learns of this
        # one by its next periodic announcement; Cyclone's default period is half a minute.
        discovery += "<SPDPInterval>2s</SPDPInterval>"
        items = "".join(f"<Peer address={quoteattr(peer)}/>" for peer in peers)
        discovery += f"<Peers>{items}</Peers>"
    return f"<CycloneDDS><Domain>{general}<Discovery>{discovery}</Discovery></Domain></CycloneDDS>"
