"""The member's client. Start reading at conversation.py, the core: it does no input or output.

| module | what it holds |
|---|---|
| conversation, connection_state | the member's side of the protocol, as a state machine |
| server_lines | the lines of a server, as types |
| requests, resequencer, reconnect, lenient_lines | its parts |
| user_input | what a typed line means: a message or a command |
| items | what the core hands out for display |
| connection | the core on a non-blocking socket |
| groups, membership_saver | the file that remembers the user's groups |
| arguments, display, errors | checks of input, wording of output, exceptions |
| console, __main__ | the client in a terminal or a script |
"""
