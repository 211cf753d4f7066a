"""zspiderd, the command: thin verbs around the roles and the master's admin protocol."""

from zspider.cli.app import main

__all__ = ["main"]
