"""The demo: everything on this machine, invented readers, two sample issues, and nothing leaves it."""
