"""The member's client. Start reading at conversation.py, the core: it does no input or output.

| module | contents |
|---|---|
| conversation, connection_state | the member's side of the protocol, as a state machine |
| server_lines | the lines of a server, as types |
| requests, resequencer, reconnect, lenient_lines | its parts |
| user_input | the meaning of a typed line: a message or a command |
| items | items that the core hands out for display |
| connection | the core on a non-blocking socket |
| loop_connection | the same in an asyncio event loop |
| groups, membership_saver | the file that remembers the user's groups |
| arguments, display, errors | checks of input, wording of output, exceptions |
| console, __main__ | the client in a script, or a terminal that cannot edit lines |
| line_editor | the client in a terminal, where lines can be edited |
"""
