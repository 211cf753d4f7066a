"""The master's side: what it decides and writes, and how it answers slaves."""
