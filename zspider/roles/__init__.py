"""The loops that join the halves, by side: who runs a line is told by its folder."""
