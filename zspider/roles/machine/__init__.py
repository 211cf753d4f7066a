"""The machine as a process of ours uses it: clock, signals, systemd, limits, children."""
