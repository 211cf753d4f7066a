"""Checks of a script without running it: its file is read, compiled elsewhere, and reviewed."""
