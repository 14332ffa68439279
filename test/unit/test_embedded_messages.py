"""Message classes and their CDR, against hand-worked bytes and rosbags' own serializer."""

from __future__ import annotations

import array
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

import embedded_ros

embedded_ros.install()

from embedded_ros import cdr, definitions, messages  # noqa: E402

pytestmark = pytest.mark.embedded_only("embedded_ros' own messages, and their bytes")

ALL_MESSAGES = definitions.all_messages()
ALL_PARTS = ALL_MESSAGES + [
    service + part for service in definitions.all_services() for part in ("_Request", "_Response")
]
BOUNDS = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "char": (0, 255),
    "int16": (-32768, 32767),
    "uint16": (0, 65535),
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}


def reference_store():
    """rosbags alone, with the file definitions registered in its own way."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name in ALL_PARTS:
        definition = definitions.definition(name)
        if definition.fields != tuple(store.fielddefs.get(name, (None, ()))[1]):
            store.fielddefs.pop(name, None)
            store.types.pop(name, None)
            store.register({name: ([], list(definition.fields))})
    return store


REFERENCE = reference_store()


def random_primitive(base: str, rng: random.Random):
    if base == "bool":
        return rng.random() < 0.5
    if base == "string":
        return "".join(rng.choice("abc é漢") for _ in range(rng.randrange(12)))
    if base == "float32":
        return float(np.float32(rng.uniform(-1e3, 1e3)))
    if base == "float64":
        return rng.uniform(-1e3, 1e3)
    return rng.randint(*BOUNDS[base])


def random_pair(name: str, rng: random.Random):
    """The same random content as this package's message and as rosbags' own."""
    ours, theirs = {}, {}
    built = messages.message_class(name)
    for item, (field, description) in zip(built.FIELDS, definitions.definition(name).fields):
        ours[item.name], theirs[field] = random_field(description, rng)
    if definitions.EMPTY_MEMBER in ours:
        return built(), REFERENCE.types[name](
            definitions.definition(name).defaults.get(definitions.EMPTY_MEMBER, 0)
        )
    return built(**ours), REFERENCE.types[name](**theirs)


def random_field(description, rng: random.Random):
    kind, detail = description
    if kind == Nodetype.NAME:
        return random_pair(detail, rng)
    if kind == Nodetype.BASE:
        if detail[0] == "byte":
            value = rng.randrange(128)
            return bytes([value]), value
        value = random_primitive(detail[0], rng)
        return value, value
    inner, size = detail
    length = size if kind == Nodetype.ARRAY else rng.randrange(min(size or 5, 5) + 1)
    pairs = [random_field(inner, rng) for _ in range(length)]
    ours, theirs = [one for one, _ in pairs], [other for _, other in pairs]
    if inner[0] == Nodetype.BASE and inner[1][0] != "string":
        dtype = {"byte": "int8", "char": "uint8"}.get(inner[1][0], inner[1][0])
        return ours, np.array(theirs, dtype=dtype)
    return ours, theirs


@pytest.mark.parametrize("name", ALL_PARTS)
def test_cdr_equals_rosbags_bytes_and_comes_back(name):
    rng = random.Random(name)
    for _ in range(3):
        ours, theirs = random_pair(name, rng)
        data = bytes(cdr.serialize(ours))
        assert data == bytes(REFERENCE.serialize_cdr(theirs, name, little_endian=True))
        assert cdr.deserialize(data, name) == ours
        big_endian = bytes(REFERENCE.serialize_cdr(theirs, name, little_endian=False))
        assert cdr.deserialize(big_endian, name) == ours


def test_header_bytes_by_hand():
    from builtin_interfaces.msg import Time
    from std_msgs.msg import Header

    data = cdr.serialize(Header(stamp=Time(sec=1, nanosec=2), frame_id="map"))
    assert data.hex() == "00010000" + "01000000" + "02000000" + "04000000" + b"map\0".hex()


def test_sequences_are_aligned_by_hand():
    from std_msgs.msg import Float64MultiArray

    data = cdr.serialize(Float64MultiArray(data=[1.0]))
    # no dimensions (4), data_offset (4), one element (4), padding to 8 (4), 1.0
    assert data.hex() == "00010000" + "00000000" * 2 + "01000000" + "00000000" + "000000000000f03f"


def test_known_type_hashes():
    # As a Jazzy installation has them in std_msgs/msg/String.json and builtin_interfaces.
    assert (
        cdr.type_hash("std_msgs/msg/String")
        == "RIHS01_df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"
    )
    assert (
        cdr.type_hash("builtin_interfaces/msg/Time")
        == "RIHS01_b106235e25a4c5ed35098aa0a61a3ee9c9b18d197f398b0e4206cea9acf9c197"
    )


def test_defaults_constants_and_nested_defaults():
    from diagnostic_msgs.msg import DiagnosticStatus
    from geometry_msgs.msg import PoseStamped
    from sensor_msgs.msg import CameraInfo, PointField
    from visualization_msgs.msg import Marker

    pose = PoseStamped()
    assert (pose.pose.orientation.w, pose.pose.orientation.x) == (1.0, 0.0)
    assert pose.header.frame_id == "" and pose.header.stamp.sec == 0
    assert (Marker.CUBE, PointField.FLOAT32, Marker().CUBE) == (1, 7, 1)
    assert DiagnosticStatus.WARN == b"\x01" and DiagnosticStatus().level == b"\x00"
    info = CameraInfo()
    assert isinstance(info.k, np.ndarray) and info.k.shape == (9,) and info.k.dtype == np.float64
    assert isinstance(info.d, array.array) and len(info.d) == 0
    # Two messages never share what is mutable.
    info.k[0] = 5.0
    assert CameraInfo().k[0] == 0.0


def test_field_types_are_written_as_rosidl_writes_them():
    from sensor_msgs.msg import CameraInfo, PointCloud2
    from shape_msgs.msg import SolidPrimitive
    from std_msgs.msg import Empty

    kinds = PointCloud2.get_fields_and_field_types()
    assert list(kinds)[:3] == ["header", "height", "width"]
    assert kinds["fields"] == "sequence<sensor_msgs/PointField>"
    assert kinds["data"] == "sequence<uint8>" and kinds["is_dense"] == "boolean"
    assert kinds["header"] == "std_msgs/Header"
    assert CameraInfo.get_fields_and_field_types()["k"] == "double[9]"
    assert SolidPrimitive.get_fields_and_field_types()["dimensions"] == "sequence<double, 3>"
    assert Empty.get_fields_and_field_types() == {}


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("geometry_msgs/msg/Point", "x", 1),  # an int is no float, as in rclpy
        ("std_msgs/msg/Header", "frame_id", b"map"),
        ("std_msgs/msg/Header", "stamp", 3),
        ("sensor_msgs/msg/Image", "height", -1),
        ("sensor_msgs/msg/Image", "height", 1.0),
        ("sensor_msgs/msg/Image", "data", [256]),
        ("sensor_msgs/msg/Image", "data", "text"),
        ("sensor_msgs/msg/Image", "data", np.zeros((2, 2), np.uint8)),
        ("sensor_msgs/msg/Image", "data", np.zeros(2, np.float32)),
        ("sensor_msgs/msg/CameraInfo", "k", [0.0] * 8),
        ("sensor_msgs/msg/PointCloud2", "is_dense", 1),
        ("visualization_msgs/msg/MarkerArray", "markers", ["no marker"]),
        ("diagnostic_msgs/msg/DiagnosticStatus", "level", 1),
        ("shape_msgs/msg/SolidPrimitive", "dimensions", [1.0] * 4),
    ],
)
def test_wrong_values_are_refused(name, field, value):
    with pytest.raises(AssertionError, match=field):
        setattr(messages.message_class(name)(), field, value)


def test_unknown_field_is_refused():
    from std_msgs.msg import String

    with pytest.raises(AttributeError, match="text"):
        String(text="x")
    with pytest.raises(AttributeError):
        String().text = "x"


@pytest.mark.parametrize(
    "value",
    [b"\1\2\3", bytearray(b"\1\2\3"), [1, 2, 3], (1, 2, 3), array.array("B", [1, 2, 3])]
    + [
        np.array([1, 2, 3], np.uint8),
        np.array([1, 9, 2, 9, 3], np.uint8)[::2],
        memoryview(b"\1\2\3"),
    ],
)
def test_byte_sequences_take_any_buffer(value):
    from sensor_msgs.msg import Image

    message = Image(data=value)
    assert message.data == array.array("B", [1, 2, 3])
    assert (
        cdr.deserialize(cdr.serialize(message), "sensor_msgs/msg/Image").data.tobytes() == b"\1\2\3"
    )


def test_received_sequences_are_views_until_asked_for_and_arrays_then():
    from sensor_msgs.msg import Image

    sent = bytearray(cdr.serialize(Image(data=b"\0\x08")))
    received = cdr.deserialize(sent, "sensor_msgs/msg/Image")
    sent[-2] = 7  # seen: nothing has been copied yet
    received.data.append(9)  # an array.array, and writable
    sent[-2] = 0
    assert received.data.tobytes() == b"\7\x08\x09"
    # what was changed is what is sent on
    assert cdr.serialize(received)[-3:] == b"\7\x08\x09"


def test_equality_repr_and_pickle():
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    one = Image(header=Header(frame_id="a"), data=bytes(100))
    assert one == Image(header=Header(frame_id="a"), data=bytes(100))
    assert one != Image(header=Header(frame_id="b"), data=bytes(100))
    assert one != Image(header=Header(frame_id="a"), data=bytes(99) + b"\1")
    assert "frame_id='a'" in repr(one) and "<100 elements>" in repr(one)
    assert pickle.loads(pickle.dumps(one)) == one


@pytest.mark.parametrize("cut", [0, 3, 4, 10, 21])
def test_truncated_bytes_are_an_error(cut):
    from geometry_msgs.msg import PoseStamped

    data = bytes(cdr.serialize(PoseStamped()))
    with pytest.raises(ValueError, match="PoseStamped"):
        cdr.deserialize(data[:cut], "geometry_msgs/msg/PoseStamped")


def test_huge_lengths_are_an_error_and_not_an_allocation():
    with pytest.raises(ValueError, match="String"):
        cdr.deserialize(b"\0\1\0\0\xff\xff\xff\x7f", "std_msgs/msg/String")


def test_services_have_request_and_response():
    from std_srvs.srv import SetBool, Trigger, Trigger_Request

    assert Trigger.Request is Trigger_Request
    assert SetBool.Response(success=True, message="m").message == "m"
    assert Trigger.Request.get_fields_and_field_types() == {}


def test_own_interfaces_come_from_their_files():
    from semantic_field.msg import FieldSnapshot
    from semantic_field.srv import Query

    assert FieldSnapshot.get_fields_and_field_types() == {
        "header": "std_msgs/Header",
        "version": "uint64",
        "format": "string",
        "data": "sequence<uint8>",
    }
    assert Query.Response.get_fields_and_field_types()["hits"] == "sequence<semantic_field/Hit>"


def test_definition_files_equal_rosbags_parsing_of_the_same_text():
    text = "uint8 A=3\nfloat64[3] xyz\nstring<=5 name\ngeometry_msgs/Pose[<=2] poses\n"
    (parsed,) = get_types_from_msg(text, "some_msgs/msg/Thing").values()
    definition = definitions.parse(text, "some_msgs/msg/Thing")
    assert list(definition.fields) == parsed[1]
    assert definition.constants == {"A": ("uint8", 3)}


def test_unknown_names_say_what_to_do():
    with pytest.raises(ImportError):
        from std_msgs.msg import Nonsense  # noqa: F401
    with pytest.raises(ModuleNotFoundError):
        import nonsense_msgs.msg  # noqa: F401
    with pytest.raises(ValueError, match="EMBEDDED_ROS_INTERFACE_PATH"):
        definitions.definition("nonsense_msgs/msg/Nonsense")


def run_python(code: str, cwd, **environment: str) -> str:
    import os

    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_real_rclpy_is_left_alone(tmp_path):
    (tmp_path / "rclpy").mkdir()
    (tmp_path / "rclpy" / "__init__.py").write_text("MINE = True\n")
    code = "import embedded_ros; print(embedded_ros.install()); import rclpy; print(rclpy.MINE)"
    assert run_python(code, tmp_path).split() == ["False", "True"]


def test_interfaces_of_other_packages_are_found(tmp_path):
    (tmp_path / "robot_msgs" / "msg").mkdir(parents=True)
    (tmp_path / "robot_msgs" / "msg" / "Arm.msg").write_text("float64 angle 0.5  # rad\n")
    code = (
        "import embedded_ros; print(embedded_ros.install(), embedded_ros.install());"
        "from robot_msgs.msg import Arm; print(Arm().angle)"
    )
    found = run_python(code, tmp_path, EMBEDDED_ROS_INTERFACE_PATH=str(tmp_path))
    assert found.split() == ["True", "True", "0.5"]
