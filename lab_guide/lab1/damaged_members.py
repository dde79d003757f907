"""Lab 1: does read_members() reject every damaged member file? Run it in your folder:

python ~/grupo/lab_guide/lab1/damaged_members.py

The protocol leaves a server free in its files, so no check of `make check` damages them. The exit
status is 0 if each of these texts raises DamagedError, and 1 if not.
"""

import sys

sys.path.insert(0, "")  # the folder in which it is run, before the one in which it is

from implementations.common.errors import DamagedError
from implementations.common.passwords import hash_password
from implementations.common.storage import read_members

PHC = hash_password("secret-of-ana") or ""
ANA = f"ana:member:{PHC}\n"
BEN = f"ben:member:{PHC}\n"
HEAD = "# grupo 1 seq 4\n"
WHOLE = f"{HEAD}{ANA}{BEN}eva:banned:\n"
DAMAGED = {
    "an empty file": "",
    "no first line": ANA,
    "a number alone in the first line": WHOLE.replace(HEAD, "4\n"),
    "a first line of another format": WHOLE.replace("grupo 1", "grupo 2"),
    "a first line without a number": WHOLE.replace("seq 4", "seq x"),
    "a number with a sign": WHOLE.replace("seq 4", "seq -4"),
    "the last byte cut off": WHOLE[:-1],
    "cut within the last hash": f"{HEAD}{ANA}{BEN}"[:-10],
    "an empty line": f"{HEAD}{ANA}\n{BEN}",
    "a line without colons": f"{HEAD}{ANA}noise\n",
    "a name that is no name": f"{HEAD}{ANA}b n:member:{PHC}\n",
    "a standing that is none": f"{HEAD}{ANA}ben:owner:{PHC}\n",
    "a member without a hash": f"{HEAD}{ANA}ben:member:\n",
    "a password in clear": f"{HEAD}{ANA}ben:member:secret-of-ben\n",
    "a banned name with a hash": f"{HEAD}{ANA}ben:banned:{PHC}\n",
    "one name twice": f"{HEAD}{ANA}{BEN}{ANA}",
    "one name twice, in capitals": f"{HEAD}{ANA}{BEN}ANA:member:{PHC}\n",
}


def outcome(text: str) -> str:
    """What read_members() does with a text: "" if it raises DamagedError, as it should."""
    try:
        read_members(text)
    except DamagedError:
        return ""
    except Exception as error:  # whatever a learner's code raises
        return f"raises {type(error).__name__}"
    return "accepted"


def main() -> int:
    """Prints what is not rejected. Returns the exit status."""
    try:
        seq, members = read_members(WHOLE)
        found = [(member.name, member.standing) for member in members.values()]
    except Exception as error:
        print(f"a correct file: raises {type(error).__name__}")
        return 1
    wanted = [("ana", "member"), ("ben", "member"), ("eva", "banned")]
    if (seq, found) != (4, wanted):
        print("a correct file: not read as it was written")
        return 1
    wrong = {what: told for what, text in DAMAGED.items() if (told := outcome(text))}
    for what, told in wrong.items():
        print(f"{what}: {told}")
    print(f"{len(DAMAGED) - len(wrong)} of {len(DAMAGED)} damaged files are rejected")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
