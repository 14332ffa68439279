# Stands in for ROS 2's rosidl_default_generators where only Debian's ament is there: the real
# rosidl_generate_interfaces() of rosidl_cmake runs, reads and adapts every interface file, and
# calls one generator, which writes no code but installs its package as rosidl_generator_py does.
find_package(rosidl_adapter REQUIRED)
find_package(rosidl_cmake REQUIRED)
ament_register_extension(
  "rosidl_generate_idl_interfaces" "rosidl_default_generators" "generate_stand_in.cmake"
)
