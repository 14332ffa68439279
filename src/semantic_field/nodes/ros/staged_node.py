"""Lifecycle node whose parts open and close with its states, and which listens once it is warm."""

from __future__ import annotations

from contextlib import ExitStack

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, State, TransitionCallbackReturn
from rclpy.timer import Timer

from semantic_field.nodes.ros.guarding import GuardedNode
from semantic_field.nodes.ros.run import WARM_UP
from semantic_field.nodes.ros.transitions import told
from semantic_field.nodes.ros.workers import Worker

POLL_S = 0.1  # while it starts


class StagedNode(GuardedNode, LifecycleNode):
    """Base of the nodes that take camera images. Subclasses: ``MappingNode``, ``InferenceNode``.

    Subclasses implement ``open_parts`` (configure), ``run_parts`` (activate), ``warm_up`` (a
    thread that compiles), ``listen`` and ``mute`` (subscribe and unsubscribe).

    Attributes:
        is_active: whether the node is in the state *active*.
        exit_code: of the process that runs the node.
    """

    def __init__(self, name: str, **options) -> None:
        super().__init__(name, **options)
        self.exit_code = 0
        self.is_active = False
        self._warming: Worker | None = None
        self._waking: Timer | None = None
        self._opened, self._running = ExitStack(), ExitStack()  # closed by cleanup, deactivate

    def open_parts(self, opened: ExitStack) -> None:
        """Make publishers, services and what they serve; ``opened`` closes them."""
        raise NotImplementedError

    def run_parts(self, running: ExitStack) -> None:
        """Start the threads; ``running`` stops them."""
        raise NotImplementedError

    def warm_up(self) -> None:
        """Compile what the node needs; runs in a thread."""
        raise NotImplementedError

    def listen(self) -> None:
        """Subscribe to the inputs."""
        raise NotImplementedError

    def mute(self) -> None:
        """Unsubscribe from the inputs; may be called although nothing is subscribed."""
        raise NotImplementedError

    def start(self) -> None:
        """Configure and activate, as a lifecycle manager would; raises ValueError on failure."""
        for trigger in (self.trigger_configure, self.trigger_activate):
            if trigger() != TransitionCallbackReturn.SUCCESS:
                name = self.get_name().replace("_", " ")
                raise ValueError(f"the {name} could not start: see the error above")

    # --- transitions --------------------------------------------------------------------------

    @told
    def on_configure(self, state: State) -> TransitionCallbackReturn:
        with ExitStack() as opened:  # on failure, everything opened so far is closed
            self.open_parts(opened)
            self._opened = opened.pop_all()
        return TransitionCallbackReturn.SUCCESS

    @told
    def on_activate(self, state: State) -> TransitionCallbackReturn:
        with ExitStack() as running:
            running.callback(setattr, self, "is_active", False)
            self.run_parts(running)
            self._listen_when_warm(running)
            self._running = running.pop_all()
        self.is_active = True
        return super().on_activate(state)

    @told
    def on_deactivate(self, state: State) -> TransitionCallbackReturn:
        self._running.close()
        return super().on_deactivate(state)

    @told
    def on_cleanup(self, state: State) -> TransitionCallbackReturn:
        self.close()
        return TransitionCallbackReturn.SUCCESS

    @told
    def on_shutdown(self, state: State) -> TransitionCallbackReturn:
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def close(self) -> None:
        """Stop listening, then all threads, then close all parts; may be called again."""
        self._stop_listening()
        self._running.close()
        self._opened.close()

    def destroy_node(self) -> None:
        self.close()
        super().destroy_node()

    # --- warm-up ------------------------------------------------------------------------------

    def _listen_when_warm(self, running: ExitStack) -> None:
        """Subscribe only once the kernels are compiled, since earlier frames would be lost."""
        if self._warming is None or WARM_UP in self.failures:
            self._warming = Worker(self, WARM_UP, self.warm_up)
            self._warming.start()
            self.get_logger().info("starting: compiling what is needed")
        # Steady time: a bag's clock may not start before somebody subscribes.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._waking = self.create_timer(POLL_S, self._wake, clock=steady)
        running.callback(self._stop_listening)

    def _wake(self) -> None:
        assert self._warming is not None
        if not self._warming.is_alive:
            self._stop_listening()
            self.listen()

    def _stop_listening(self) -> None:
        if self._waking is not None:
            self.destroy_timer(self._waking)
            self._waking = None
        self.mute()
