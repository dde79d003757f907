"""The two windows: owner.py around a server's command line and console, member.py around the client's Conversation.

What others wrote reaches the screen through talk.py and parts.py alone: without control characters, and never read as markup.
"""
