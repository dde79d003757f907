"""Four clerks sell tickets from one pile, first without a lock, and then with one."""

import contextlib
import threading
import time


def sell(pile, guard):
    for _ in range(250):
        with guard:
            left = pile["left"]
            time.sleep(0)  # another thread may run now
            pile["left"] = left - 1


for name, guard in ("without a lock", contextlib.nullcontext()), ("with a lock", threading.Lock()):
    pile = {"left": 1000}
    clerks = [threading.Thread(target=sell, args=(pile, guard)) for _ in range(4)]
    for clerk in clerks:
        clerk.start()
    for clerk in clerks:
        clerk.join()
    print(f"{name}: {pile['left']} of 1000 tickets are left")
