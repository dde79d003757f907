"""The exceptions of the client. The text of each is one line for the user."""


class ClientError(Exception):
    """The client cannot carry out a command. Base class of the exceptions of this package."""


class InputError(ClientError):
    """A value that the user gave is not valid. The text never repeats a password."""


class GroupsFileError(ClientError):
    """The groups file is damaged. The text names the file, the line and a remedy."""
