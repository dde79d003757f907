"""One group-chat server, written three times: nonblocking, pthread, fork."""
