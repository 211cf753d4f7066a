"""A user's script: what it sees (`BaseHandler`, `crawl()`, the page), how it is loaded, and how a callback is run."""
