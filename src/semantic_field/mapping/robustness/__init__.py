"""What real sensors and real rooms do: moving things, poses, exposure."""
