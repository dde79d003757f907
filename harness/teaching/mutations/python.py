"""The mutations of a source in Python, found in its syntax tree.

What is no behaviour is left alone: docstrings, type hints, traces, `__repr__`, words of messages.
"""

import ast
import itertools
import re
from collections.abc import Iterator

from harness.teaching.mutations.edit import (
    CONDITION_NEGATED,
    ERROR_BRANCH_DROPPED,
    LOCK_DROPPED,
    LONGEST,
    MOVED_OUT_OF_LOCK,
    OFF_BY_ONE,
    STATEMENT_DROPPED,
    STATEMENTS_SWAPPED,
    WRONG_CONSTANT,
    Edit,
    next_number,
)

INDENT = 4  # columns
# Functions and classes whose arguments are only for traces, or words for people.
FOR_PEOPLE = {"traced", "lock", "warn", "StartupError", "DamagedError", "BadOrder", "Thread"}
FOR_PEOPLE |= {"set_actor", "name_thread", "TypeVar", "cast"}
LOCKS = re.compile(r"lock$|mutex|^acquire$|^release$|^flock$")
WORD = re.compile(r"[A-Za-z]+(-[a-z]+)*")
EDGES = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}
JUMPS = ast.Return, ast.Raise, ast.Continue, ast.Break
FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef
NEVER_DROPPED = (
    *FUNCTIONS,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
    ast.Global,
    ast.Nonlocal,
    ast.Pass,
    ast.Assert,  # those of the servers are for the type checker
)


class Source:
    """A text, with the offsets of its syntax tree's nodes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.split("\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)

    def offset(self, line: int, column: int) -> int:
        """Return the offset of a place that the tree gives in bytes."""
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def start(self, node) -> int:
        return self.offset(node.lineno, node.col_offset)

    def end(self, node) -> int:
        return self.offset(node.end_lineno, node.end_col_offset)

    def of(self, node) -> str:
        return self.text[self.start(node) : self.end(node)]

    def edit(self, kind: str, node, new: str) -> Edit:
        return Edit(kind, self.start(node), self.end(node), new)


def edits(text: str) -> list[Edit]:
    """Return all mutations of a source."""
    source = Source(text)
    found: list[Edit] = []
    for where, function, block in blocks(ast.parse(text)):
        made = [edit for statement in block for edit in of_statement(source, function, statement)]
        if function:
            made += swaps(source, function, block)
        found += [Edit(edit.kind, edit.start, edit.end, edit.new, where) for edit in made]
    return found


def blocks(node, where="", function=None) -> Iterator[tuple[str, ast.AST | None, list[ast.stmt]]]:
    """Yield every list of statements, with the name and the node of the function around it."""
    for name in "body", "orelse", "finalbody":
        block = getattr(node, name, [])
        if not isinstance(block, list) or not block:
            continue
        block = [statement for statement in block if is_behaviour(statement)]
        yield where, function, block
        for statement in block:
            if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
                inner = f"{where}.{statement.name}".lstrip(".")
                is_class = isinstance(statement, ast.ClassDef)
                yield from blocks(statement, inner, None if is_class else statement)
            else:
                yield from blocks(statement, where, function)
    for branch in [*getattr(node, "handlers", []), *getattr(node, "cases", [])]:
        yield from blocks(branch, where, function)


def is_behaviour(statement) -> bool:
    """Whether a statement does anything when the program runs normally."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return False  # a docstring
    if isinstance(statement, ast.If):
        guard = ast.unparse(statement.test)
        return guard != "TYPE_CHECKING" and not guard.startswith("__name__")
    if isinstance(statement, FUNCTIONS):
        return statement.name not in ("__repr__", "__str__")
    if isinstance(statement, ast.Expr):
        text = ast.unparse(statement.value)
        return not text.startswith(("trace.", "warn(", "name_thread("))
    return True


def of_statement(source, function, statement) -> Iterator[Edit]:
    """Yield the mutations of one statement, without those of the statements in it."""
    if function:
        yield from drops(source, function, statement)
    if isinstance(statement, ast.Try):
        for handler in statement.handlers:
            if handler.type:  # an empty tuple catches nothing
                yield source.edit(ERROR_BRANCH_DROPPED, handler.type, "()")
    if isinstance(statement, ast.With) and any(map(is_lock, statement.items)):
        yield from out_of_lock(source, statement)
    nodes = list(own_nodes(statement))
    yield from negations(source, statement, nodes)
    yield from constants(source, nodes, function is None and not isinstance(statement, FUNCTIONS))


# -- Statements ------------------------------------------------------------------------------------


def drops(source, function, statement) -> Iterator[Edit]:
    """Yield the statement's absence, unless the program then only stumbles over a missing name."""
    if isinstance(statement, ast.If):
        is_guard = isinstance(statement.body[-1], JUMPS) and not statement.orelse
        if is_guard and is_short(statement) and source.of(statement).startswith("if"):
            yield source.edit(ERROR_BRANCH_DROPPED, statement, "pass")
    elif not hasattr(statement, "body") and not isinstance(statement, NEVER_DROPPED):
        is_lock_call = isinstance(statement, ast.Expr) and LOCKS.search(called(statement.value))
        if not binds_alone(function, statement):
            kind = LOCK_DROPPED if is_lock_call else STATEMENT_DROPPED
            yield source.edit(kind, statement, "pass")


def binds_alone(function, statement) -> bool:
    """Whether a name, or an attribute in __init__, exists only because of this statement."""
    if isinstance(statement, ast.AnnAssign) and statement.value is None:
        return True
    if not isinstance(statement, (ast.Assign, ast.AnnAssign)):
        return False
    stored = {name for name in names(statement, ast.Store) if "[" not in name}
    if getattr(function, "name", "") == "__init__":
        return True
    elsewhere = [
        name
        for other in ast.walk(function)
        if isinstance(other, ast.stmt) and other is not statement and not hasattr(other, "body")
        for name in names(other, ast.Store)
    ]
    given = {argument.arg for argument in ast.walk(function) if isinstance(argument, ast.arg)}
    return all("." not in name and name not in given for name in stored) and not (
        stored & set(elsewhere)
    )


def swaps(source, function, block) -> Iterator[Edit]:
    """Yield neighbours in the other order, where that can make a difference."""
    for first, second in itertools.pairwise(block):
        pair = first, second
        if any(isinstance(one, (*NEVER_DROPPED, *JUMPS)) for one in pair):
            continue
        needs = binds_alone(function, first) and names(first, ast.Store) & names(second, ast.Load)
        is_long = second.end_lineno - first.lineno >= LONGEST
        if is_long or needs or commute(function, first, second):
            continue
        start, end = source.start(first), source.end(second)
        between = source.text[source.end(first) : source.start(second)]
        yield Edit(STATEMENTS_SWAPPED, start, end, source.of(second) + between + source.of(first))


def commute(function, first, second) -> bool:
    """Whether it is plain that the order of two statements does not matter.

    A call for a value, which a new name is given to, is taken to have no effect of its own.
    """
    if any(
        isinstance(node, ast.Call) and not binds_alone(function, one)
        for one in (first, second)
        for node in ast.walk(one)
    ):
        return False
    return not any(
        names(one, ast.Store) & (names(other, ast.Load) | names(other, ast.Store))
        for one, other in ((first, second), (second, first))
    )


def names(node, context) -> set[str]:
    """Return the names and attributes, such as self.seq, that are read or written in a node."""
    found = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Subscript) and isinstance(one.ctx, (ast.Store, ast.Del)):
            if context is ast.Store:
                found.add(f"{ast.unparse(one.value)}[")
        elif isinstance(one, (ast.Name, ast.Attribute)):
            is_written = isinstance(one.ctx, (ast.Store, ast.Del))
            if is_written == (context is ast.Store):
                found.add(ast.unparse(one))
    if isinstance(node, ast.AugAssign):
        found.add(ast.unparse(node.target))
    return found


def called(node) -> str:
    """Return the last name of what a call calls."""
    return ast.unparse(node).partition("(")[0].rpartition(".")[2]


def is_short(statement) -> bool:
    return statement.end_lineno - statement.lineno < LONGEST


# -- Locks -----------------------------------------------------------------------------------------


def is_lock(item) -> bool:
    return bool(LOCKS.search(ast.unparse(item.context_expr)))


def out_of_lock(source, statement) -> Iterator[Edit]:
    """Yield the block without its lock, and its first and its last statement outside of it."""
    text, start = source.text, source.start(statement)
    colon = text.index(":", source.end(statement.items[-1].context_expr))
    yield Edit(LOCK_DROPPED, start, colon, "if True")
    body = statement.body
    if len(body) == 1 or body[0].lineno == statement.lineno:
        return
    indent = " " * statement.col_offset
    first, last = body[0], body[-1]
    if is_short(first) and not isinstance(first, JUMPS):
        header = text[start : source.start(first)].rstrip()
        moved = f"{dedented(source, first)}\n{indent}{header}"
        yield Edit(MOVED_OUT_OF_LOCK, start, source.end(first), moved)
    if is_short(last) and not isinstance(last, (ast.Continue, ast.Break)):
        line = source.offset(last.lineno, 0)
        moved = indent + dedented(source, last)
        yield Edit(MOVED_OUT_OF_LOCK, line, source.end(last), moved)


def dedented(source, statement) -> str:
    """Return a statement, from its first letter, with one level of indentation less."""
    lines = source.of(statement).split("\n")
    return "\n".join([lines[0], *(line[INDENT:] for line in lines[1:])])


# -- Expressions -----------------------------------------------------------------------------------


def own_nodes(statement) -> Iterator[ast.AST]:
    """Yield the expressions of a statement, outside first, that are behaviour."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop(0)
        if node is not statement:
            yield node
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "handlers", "type_comment"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not is_free(child):
                    waiting.append(child)


def is_free(node) -> bool:
    """Whether a node is another statement, or nothing that a client or the owner can rely on.

    Python 3.11 does not know the places of what is inside an f-string.
    """
    if isinstance(node, (ast.stmt, ast.ExceptHandler, ast.JoinedStr)):
        return True
    if isinstance(node, ast.keyword):
        return node.arg in ("help", "metavar", "description", "epilog", "name")
    if isinstance(node, ast.Call):
        return called(node) in FOR_PEOPLE or ast.unparse(node).startswith("trace.")
    return False


def negations(source, statement, nodes) -> Iterator[Edit]:
    """Yield each condition, and each part of one, turned into its opposite."""
    inside_not = {node.operand for node in nodes if is_not(node)}
    for node in conditions(statement, nodes):
        if node in inside_not or isinstance(node, ast.Constant):
            continue
        new = f"({source.of(node.operand)})" if is_not(node) else f"not ({source.of(node)})"
        yield source.edit(CONDITION_NEGATED, node, new)


def conditions(statement, nodes) -> dict[ast.AST, None]:
    """Return what is used as a condition, in order."""
    is_conditional = isinstance(statement, (ast.If, ast.While))
    found: dict[ast.AST, None] = {statement.test: None} if is_conditional else {}
    for node in nodes:
        if isinstance(node, ast.Compare) or is_not(node):
            found[node] = None
    for node in nodes:
        if isinstance(node, ast.IfExp):
            found[node.test] = None
        elif isinstance(node, ast.comprehension):
            found.update(dict.fromkeys(node.ifs))
        elif isinstance(node, ast.BoolOp):
            found.update(dict.fromkeys([node, *node.values]))
    return found


def is_not(node) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)


def constants(source, nodes, is_named) -> Iterator[Edit]:
    """Yield limits that are missed by one, and constants that are wrong.

    is_named: the statement gives a module's or a class's constant.
    """
    inside: set[ast.AST] = set()  # of a named constant: 256 * 1024 is one
    for node in nodes:
        if isinstance(node, ast.Compare) and type(node.ops[0]) in EDGES and len(node.ops) == 1:
            left, right = source.end(node.left), source.start(node.comparators[0])
            new = re.sub("[<>]=?", EDGES[type(node.ops[0])], source.text[left:right])
            yield Edit(OFF_BY_ONE, left, right, new)
        elif node in inside or not is_number(node, is_named):
            if isinstance(node, ast.Constant):
                yield from wrong(source, node, is_named)
        else:
            inside |= set(ast.walk(node))
            text = source.of(node)
            if not has_float(node):
                yield source.edit(OFF_BY_ONE, node, next_number(text))
            if has_float(node) or is_named:
                yield source.edit(WRONG_CONSTANT, node, f"(2 * {text})")


def wrong(source, node, is_named) -> Iterator[Edit]:
    """Yield another truth value, or another word."""
    if node.value is True or node.value is False:
        yield source.edit(WRONG_CONSTANT, node, str(not node.value))
    elif isinstance(node.value, str) and WORD.fullmatch(node.value) and not is_named:
        yield source.edit(WRONG_CONSTANT, node, f'"{node.value}x"')


def is_number(node, is_named) -> bool:
    """Whether a node is a number; or, of a named constant, is made of numbers alone."""
    if isinstance(node, ast.Constant):
        return type(node.value) in (int, float)
    return (
        is_named
        and isinstance(node, ast.BinOp)
        and all(is_number(side, True) for side in (node.left, node.right))
    )


def has_float(node) -> bool:
    return any(isinstance(one, ast.Constant) and type(one.value) is float for one in ast.walk(node))
