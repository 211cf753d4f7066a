"""The slave's side: the connection to the master, fetching, and the leases it holds."""
