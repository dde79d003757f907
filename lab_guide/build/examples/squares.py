"""A parent has three children square a number. It talks to each of them through two pipes."""

import os

for number in (3, 4, 5):
    (from_parent, to_child), (from_child, to_parent) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(to_child)  # else the read below would never come to the end of file
        os.close(from_child)
        asked = b""
        while data := os.read(from_parent, 100):
            asked += data
        os.write(to_parent, b"%d" % int(asked) ** 2)
        os._exit(0)  # at once: the rest of the program is the parent's
    os.close(from_parent)
    os.close(to_parent)
    os.write(to_child, b"%d" % number)
    os.close(to_child)
    square = int(os.read(from_child, 100))
    os.close(from_child)
    _, status = os.waitpid(child, 0)
    print(f"{number} squared is {square}; the child ended with {os.waitstatus_to_exitcode(status)}")
