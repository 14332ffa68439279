"""Objects with named parts: a procedural generator, views of them, and published layouts."""
