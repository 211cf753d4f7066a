"""A script's submissions: from the arguments of `crawl()` and `send_message()` to the follow or message sent."""
