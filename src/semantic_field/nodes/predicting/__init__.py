"""Views at virtual cameras: which frames they are made of, who asks for them, what is published."""
