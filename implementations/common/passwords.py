"""Passwords are kept as argon2id hashes, in the form of PHC strings. Checking one is slow.

The cost is the least that OWASP recommends: 19 MiB, 2 passes, 1 lane (OWASP Password Storage
Cheat Sheet, 2026).
"""

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# The hash of a random password that nobody kept. It is checked where there is no member, so that
# the time does not tell whether a name is a member's.
DUMMY_HASH = (
    "$argon2id$v=19$m=19456,t=2,p=1$lY01YcIG+sLGl1Jgapn76g"
    "$hav5+VzCDNJEd4Y2/JZGcLyfACeOaFR0C5SzOuP8Ciw"
)
M_MMAP_THRESHOLD = -3  # of mallopt(3)


def release_hash_memory() -> None:
    """Makes glibc return the 19 MiB of each hash to the system.

    Without it every thread that has hashed once keeps them (mallopt(3)).
    """
    # Here, after open_standard_descriptors(): some systems' libffi opens its own file and keeps it,
    # and the server would read that in place of a closed stdin. Not `ctypes`: on Python 3.14 it
    # imports `threading`, which works after each fork, and costs each client of fork.py 0.4 MB.
    import _ctypes

    try:
        mallopt = _ctypes.dlsym(_ctypes.dlopen("libc.so.6", 0), "mallopt")
        # In bytes. From here on glibc does not adjust it.
        _ctypes.call_function(mallopt, (M_MMAP_THRESHOLD, 1 << 20))
    except OSError:
        pass  # another C library


def hash_password(password: str) -> str | None:
    """Returns the PHC string to keep for `password`; None if there is no memory left.

    Slow on purpose: tens of milliseconds and 19 MiB.
    """
    try:
        return HASHER.hash(password)
    except (Argon2Error, MemoryError):
        return None


def verify_password(password: str, phc: str) -> bool:
    """Whether the PHC string `phc` was made of `password`. As slow as hash_password()."""
    try:
        return HASHER.verify(phc, password)
    except (Argon2Error, InvalidHashError, MemoryError):
        return False
