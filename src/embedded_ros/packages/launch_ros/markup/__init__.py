"""Reading of XML and YAML launch files."""
