"""Passwords are kept as argon2id hashes (PHC strings), and checking one is the one slow thing about a request.

The cost is OWASP's least: 19 MiB, 2 passes, 1 lane (OWASP Password Storage Cheat Sheet, 2026).
"""
import ctypes

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# The hash of a random password that nobody kept: checked against where no member is, so that the time tells nothing.
DUMMY_HASH = "$argon2id$v=19$m=19456,t=2,p=1$lY01YcIG+sLGl1Jgapn76g$hav5+VzCDNJEd4Y2/JZGcLyfACeOaFR0C5SzOuP8Ciw"


def release_hash_memory():
    """Has glibc give a hash's 19 MiB back to the system each time: else every thread that hashed once keeps them (mallopt(3))."""
    try:
        ctypes.CDLL(None).mallopt(-3, 1 << 20)      # M_MMAP_THRESHOLD, and so no longer adjusted by the allocator itself
    except (OSError, AttributeError):
        pass                                        # another C library


def hash_password(password):
    """The PHC string to keep for `password`; None if the machine has no memory left. Slow on purpose: tens of milliseconds, 19 MiB."""
    try:
        return HASHER.hash(password)
    except (Argon2Error, MemoryError):
        return None


def verify_password(password, phc):
    """Whether `phc` was made of `password`. As slow as hash_password."""
    try:
        return HASHER.verify(phc, password)
    except (Argon2Error, InvalidHashError, MemoryError):
        return False
