"""Ground truth: objects of a recording, and questions with known answers."""
