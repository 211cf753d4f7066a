"""One task fetched and run without a master."""
