"""The exceptions of the client. The text of each is one line for the user."""


class ClientError(Exception):
    """The client cannot carry out a command. Base class of the exceptions of this package."""


class InputError(ClientError):
    """A value that the user gave is not valid. The text never repeats a password."""


class GroupsFileError(ClientError):
    """The groups file is damaged, or it is not known where it is. The text names a remedy."""
