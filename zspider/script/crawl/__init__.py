"""What a script submits: from the arguments of `crawl()` and `send_message()` to the follow or message that travels."""
