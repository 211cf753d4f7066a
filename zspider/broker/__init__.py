"""The wire between master, slaves and command line: messages, keys and tokens, and the sockets (ZeroMQ) of all sides."""
