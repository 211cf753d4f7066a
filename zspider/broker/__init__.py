"""The wire between master, slaves and command line: messages, keys and tokens, and all sockets (ZeroMQ)."""
