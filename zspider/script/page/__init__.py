"""What a callback gets: a fetched page as response, text, tree and document."""
