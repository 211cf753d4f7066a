"""The master's decisions: rules, frontier, leases, rates and turns. It does no I/O, and the time is handed in."""
