"""The servers' errors. Each text is one line for the owner: what is wrong, where, what to do."""


class GrupoError(Exception):
    """The base class of every error that a server raises itself."""


class DamagedError(GrupoError):
    """The stored events or members contradict each other or the format. The text says where."""


class StartupError(GrupoError):
    """The server cannot start: its folder, its files or its address cannot be used."""
