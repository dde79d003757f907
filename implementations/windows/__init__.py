"""Two terminal windows, built with Textual: one for the owner of a group, one for a member.

| module | contents |
|---|---|
| owner, start_screen, owner_screen | the owner's window and its two screens |
| owner_console, movements | the owner's side of a server's console; comings and goings |
| owner_input, owner_voice | the owner as a member, to speak to the group |
| server_process | the server as a child process |
| people_list | the list of people |
| process_panel, processes, waits | the server's processes and threads, and why each one waits |
| member, join_screen, chat_screen | the member's window and its two screens |
| message_input, roster, help_dialog | the field for messages; the members of the group; all keys |
| message_log, log_lines | the scrolling list of messages, for both windows |
| app, ordered_keys, widgets | the base of both windows: application, keys, screens, dialogs, text |
| themes | the colors of both windows: dark, light, for a projector |
| screenshots, __main__ | the pictures for README; both windows side by side in tmux |

Text of other people reaches the screen only through message_log.py and widgets.py. They make
control characters visible and never read markup.
"""
