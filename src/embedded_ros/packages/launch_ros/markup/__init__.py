"""XML and YAML launch files."""
