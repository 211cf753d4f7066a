"""What a process of ours asks of this machine: clock, signals, systemd, limits, children."""
