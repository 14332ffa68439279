"""Live semantic neural field from posed RGB-D, with open-vocabulary queries in 3D."""

from pkgutil import extend_path

# Under ROS 2 the generated messages (semantic_field.msg, semantic_field.srv) and these sources
# are two directories of the same package.
__path__ = extend_path(__path__, __name__)

from semantic_field import torchvision_operators

torchvision_operators.install()
