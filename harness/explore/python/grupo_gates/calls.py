"""Functions and methods with an event before and after them."""

import functools
import importlib.abc
import importlib.machinery
import queue
import sys

from . import gates

TIME_OUTS = TimeoutError, queue.Empty  # while time is stopped, such a wait begins again


def around(kind, about, n, function, arguments, options, *, amount=None, whole=False):
    """Calls a function between two events, and returns its result.

    amount  amount(result) is the "n" of the end; by default what it returned, or how long that is
    whole   what the function does within is not shown
    """
    if whole:
        function = functools.partial(gates.quietly, function)
    gates.event(f"B.{kind}", about, n)
    while True:
        try:
            result = function(*arguments, **options)
        except TIME_OUTS:
            if gates.event(f"E.{kind}", about, -1) != gates.AGAIN:
                raise
        except BaseException:
            gates.event(f"E.{kind}", about, -1)
            raise
        else:
            if gates.event(f"E.{kind}", about, (amount or amount_of)(result)) != gates.AGAIN:
                return result


def amount_of(result) -> int | None:
    """Returns a length or a number; None of anything else."""
    if isinstance(result, tuple) and result:  # of recvfrom and recvmsg
        result = result[0]
    if isinstance(result, (bytes, list)):
        return len(result)
    return result if type(result) is int else None


class Call:
    """A function with events. Like a built-in one it does not become a method in a class.

    describe    of the function's arguments, it returns the (kind, about, n) of the first event, or
                None if this call is not shown
    """

    def __init__(self, function, describe, **options):
        self.function, self.describe, self.options = function, describe, options
        functools.update_wrapper(self, function)

    def __call__(self, *arguments, **options):
        if gates.idle() or not (shown := described(self.describe, arguments, options)):
            return self.function(*arguments, **options)
        return around(*shown, self.function, arguments, options, **self.options)

    def __repr__(self):
        return repr(self.function)

    def __reduce__(self):
        return self.__qualname__


def described(describe, arguments, options):
    """Returns describe(...); None if it fails, since then the call itself will say why."""
    try:
        return describe(*arguments, **options)
    except Exception:
        return None


def wrap(module, names, describe, **options) -> None:
    """Puts events around functions of a module, of those that it has."""
    for name in names:
        if hasattr(module, name):
            call = Call(getattr(module, name), describe, **options)
            call.__module__ = module.__name__  # os.write says posix; pickle would look there
            setattr(module, name, call)


def wrap_methods(cls, names, describe, **options) -> None:
    """Puts events around methods of a class."""
    for name in names:
        if hasattr(cls, name):
            setattr(cls, name, method(getattr(cls, name), describe, **options))


def method(function, describe, **options):
    """Returns a method with events."""
    call = Call(function, describe, **options)

    @functools.wraps(function)
    def shown(self, *arguments, **more):
        return call(self, *arguments, **more)

    return shown


def milliseconds(timeout) -> int | None:
    """Returns the "n" of something that waits for so many seconds at most; None: without end."""
    return None if timeout is None else max(0, round(timeout * 1000))


class WhenImported(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Calls a function with a module when the program imports it, before the program has it."""

    def __init__(self, name, change):
        self.name, self.change = name, change

    def find_spec(self, name, path=None, target=None):
        """As of a finder."""
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec:
            self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        """As of a loader."""
        return self.loader.create_module(spec)

    def exec_module(self, module):
        """As of a loader."""
        module.__loader__ = module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        self.change(module)


def when_imported(name, change) -> None:
    """Has change(module) called when a module is imported, or now if it is."""
    if name in sys.modules:
        change(sys.modules[name])
    else:
        sys.meta_path.insert(0, WhenImported(name, change))
