"""What a user's script sees and how it is run: the handler, the response, the loader, the runner, pyspider's names."""
