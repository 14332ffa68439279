"""From questions to answers on topics and services."""
