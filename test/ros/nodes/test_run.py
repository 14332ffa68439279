"""How a node's process ends: also in the middle of a teacher's keyframe."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.ros

PROGRAM = """
import embedded_ros
embedded_ros.install()
import os, signal
import numpy as np, torch
from rclpy.node import Node
from semantic_field.nodes.run import run_node
from semantic_field.teachers import worker
from semantic_field.teachers.images import Sight

worker.STOP_WAIT_S = 0.01
net = torch.nn.Sequential(*[torch.nn.Conv2d(8, 8, 3, padding=1) for _ in range(8)])
image = torch.zeros(1, 8, 64, 64)

def look(sight):
    for i in range(10**9):
        net(image)
        if i == 3:
            os.kill(os.getpid(), signal.SIGTERM)

class Taught(Node):
    def __init__(self):
        super().__init__("taught")
        sight = Sight(1, 0, np.zeros((2, 2, 3), np.uint8))
        self.teachers = worker.TeacherWorker(look, lambda _: sight, print, len)
        self.teachers.start()

    def destroy_node(self):
        self.teachers.stop()
        super().destroy_node()
        print("destroyed")

raise SystemExit(run_node(Taught))
"""


def test_a_busy_teacher_does_not_abort_the_process(start_python):
    process = start_python(PROGRAM)
    output = process.stdout.read()
    assert process.wait() == 0, output
    assert output.splitlines()[-1] == "destroyed"
