"""Mapping and query node for a robot that is already running.

ros2 launch semantic_field mapping.launch.py color:=/camera/color/image_raw \
    depth:=/camera/aligned_depth_to_color/image_raw camera_info:=/camera/color/camera_info
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue
from launch_ros.substitutions import FindPackageShare

ARGUMENTS = {
    "color": ("color/image", "colour image topic (rgb8, bgr8, rgba8, bgra8, mono8)"),
    "depth": ("depth/image", "depth image topic, registered to colour (32FC1 m or 16UC1 mm)"),
    "camera_info": ("color/camera_info", "CameraInfo topic of the colour camera"),
    "depth_camera_info": ("depth/camera_info", "CameraInfo topic of the depth image"),
    "labels": ("labels/image", "optional topic of class ids (mono8 or 16UC1)"),
    "label_info": ("labels/label_info", "optional topic of class names (vision_msgs/LabelInfo)"),
    "pose": ("pose", "topic of camera poses (PoseStamped), used with pose_source:=pose"),
    "pose_frame": ("", "frame that these poses are of; empty = the camera's optical frame"),
    "odometry": ("odometry", "topic of odometry, used with pose_source:=odometry"),
    "tf": ("/tf", "topic of moving transforms"),
    "tf_static": ("/tf_static", "topic of static transforms"),
    "namespace": ("", "namespace of both nodes"),
    "global_frame": ("map", "frame the map is built in, z up"),
    "up": (
        "+z",
        "axis of global_frame that points up",
        ("+z", "-z", "+y", "-y", "+x", "-x"),
    ),
    "pose_source": ("tf", "where poses come from", ("tf", "pose", "odometry")),
    "color_transport": ("raw", "transport of the colour images", ("raw", "compressed")),
    "depth_transport": (
        "raw",
        "transport of the depth images",
        ("raw", "compressed", "compressedDepth"),
    ),
    "rectified": (
        "false",
        "the images are rectified (topics named image_rect… say so by themselves)",
        ("true", "false"),
    ),
    "input_qos": ("sensor_data", "reliability of the images", ("sensor_data", "reliable")),
    "teacher": (
        "label_text",
        "language teacher",
        ("label_text", "vocabulary", "open_clip", "none"),
    ),
    "checkpoint": ("", "file or folder of the teacher's weights, if it needs any"),
    "architecture": ("ViT-B-16", "open_clip's name, or a JSON file, of the weights' architecture"),
    "language_source": ("labels", "what language is learnt from", ("labels", "images")),
    "map_path": (
        "",
        "file of save_map and load_map, written at shutdown; "
        "empty = $ROS_HOME/semantic_field/map.safetensors",
    ),
    "load_map": ("false", "go on with the map in map_path", ("true", "false")),
    "autostart": ("true", "start without a lifecycle manager", ("true", "false")),
    "use_sim_time": ("false", "take time from /clock", ("true", "false")),
    "rviz": ("false", "open RViz with this package's displays", ("true", "false")),
    "log_level": ("info", "least severity that is printed"),
}


def declared(name: str) -> DeclareLaunchArgument:
    default, description, *choices = ARGUMENTS[name]
    return DeclareLaunchArgument(
        name,
        default_value=default,
        description=description,
        choices=list(choices[0]) if choices else None,
    )


def typed(name: str, kind: type) -> ParameterValue:
    return ParameterValue(LaunchConfiguration(name), value_type=kind)


def generate_launch_description() -> LaunchDescription:
    share = FindPackageShare("semantic_field")
    params_file = DeclareLaunchArgument(
        "params_file",
        default_value=PathJoinSubstitution([share, "config", "mapping.yaml"]),
        description="parameters of both nodes (YAML)",
    )
    log_level = ["--log-level", LaunchConfiguration("log_level")]
    common = {
        "package": "semantic_field",
        "namespace": LaunchConfiguration("namespace"),
        "output": "screen",
        "ros_arguments": log_level,
    }
    parameters = ParameterFile(LaunchConfiguration("params_file"), allow_substs=True)
    teacher = {  # comes before params_file, which may name a teacher as well
        "teacher.kind": typed("teacher", str),
        "teacher.path": typed("checkpoint", str),
        "teacher.architecture": typed("architecture", str),
    }
    use_sim_time = {"use_sim_time": typed("use_sim_time", bool)}
    mapping = Node(
        executable="mapping_node",
        name="mapping_node",
        parameters=[
            teacher | {"language.source": typed("language_source", str)},
            parameters,
            use_sim_time,
            {
                "autostart": typed("autostart", bool),
                "map_path": typed("map_path", str),
                "load_map_at_start": typed("load_map", bool),
                "input.global_frame": typed("global_frame", str),
                "input.pose_source": typed("pose_source", str),
                "input.pose_frame": typed("pose_frame", str),
                "input.color_transport": typed("color_transport", str),
                "input.depth_transport": typed("depth_transport", str),
                "input.input_qos": typed("input_qos", str),
                "input.rectified": typed("rectified", bool),
            },
        ],
        remappings=[
            ("color/image", LaunchConfiguration("color")),
            ("color/camera_info", LaunchConfiguration("camera_info")),
            ("depth/image", LaunchConfiguration("depth")),
            ("depth/camera_info", LaunchConfiguration("depth_camera_info")),
            ("labels/image", LaunchConfiguration("labels")),
            ("labels/label_info", LaunchConfiguration("label_info")),
            ("pose", LaunchConfiguration("pose")),
            ("odometry", LaunchConfiguration("odometry")),
            ("/tf", LaunchConfiguration("tf")),
            ("/tf_static", LaunchConfiguration("tf_static")),
        ],
        **common,
    )
    query = Node(
        executable="query_node",
        name="query_node",
        parameters=[teacher, parameters, use_sim_time, {"query.up": typed("up", str)}],
        **common,
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        name="rviz2",
        arguments=["-d", PathJoinSubstitution([share, "config", "semantic_field.rviz"])],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return LaunchDescription([*map(declared, ARGUMENTS), params_file, mapping, query, rviz])
