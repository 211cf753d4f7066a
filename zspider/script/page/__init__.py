"""The page that a callback gets: as response, text, tree and document."""
