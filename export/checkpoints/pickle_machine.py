"""The opcodes of a pickle -> what they build, on a stack and a memo of our own.

Python's Unpickler imports what a file names and calls it: whoever wrote the file decides what runs. This machine knows
the opcodes that checkpoints are written with and a closed table of names, each a function of ours; the first opcode or
name beyond them ends the reading. pickletools of the standard library decodes the arguments, from bytes that are
already in memory: a length that the file only declares allocates nothing.
Source: pickletools.py of CPython, which is the format's specification.
"""

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, Final

from export.checkpoints.pickle_globals import Builder, check_key, is_stand_in, new_set, refusal, set_state
from export.checkpoints.pickle_values import Global, StandIn, printable
from signalserve.errors import CheckpointError

MAX_OPCODES: Final = 100_000
"""Of one pickle; the slowest take about 6 µs each. A network with its optimizer's state has some thousands."""

MAX_COPIED: Final = 64 * 2**20
"""Bytes that builders may be given in all: the memo gives them the same long argument again for a few bytes of file."""

BYTES_PER_MEMBER: Final = 128
"""That an argument's list or dictionary is charged with for each member: about what a dictionary's entry takes."""

OPCODES: Final = {opcode.code: opcode for opcode in pickletools.opcodes}

LITERALS: Final = (
    *("INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"),
)
"""Opcodes that push their argument."""

CONSTANTS: Final[Mapping[str, Callable[[], object]]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
"""Opcodes that push a new value without an argument."""


def run(data: bytes, builders: Mapping[str, Builder | None], persistent: Callable[[object], object]) -> object:
    """What a pickle builds: plain values, StandIns, and values in the making, for pickle_tree to finish.

    builders: the names the file may refer to; None for those that are never called.
    persistent: called with each persistent id, raises ValueError for one it does not know.
    Raises CheckpointError.
    """
    return _Machine(data, builders, persistent).run()


class _Machine:
    def __init__(
        self, data: bytes, builders: Mapping[str, Builder | None], persistent: Callable[[object], object]
    ) -> None:
        self.stream = io.BytesIO(data)
        self.size = len(data)
        self.builders = builders
        self.persistent = persistent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each open MARK
        self.memo: dict[int, Any] = {}
        self.copied = 0
        self.handlers = self._handlers()

    def run(self) -> object:
        for _ in range(MAX_OPCODES):
            position = self.stream.tell()
            try:
                name, argument = self._next()
                if name == "STOP":
                    return self._result()
                self.handlers[name](argument)
            except (IndexError, KeyError):
                raise CheckpointError(f"damaged at byte {position}: takes a value that nothing has put there") from None
            # The standard library's decoders raise it too: for what is cut short, no number or no text.
            except ValueError as error:
                words = printable(str(error))
                raise CheckpointError(f"damaged or no checkpoint, at byte {position}: {words}") from None
        raise CheckpointError(f"expected a checkpoint's few thousand opcodes, got more than {MAX_OPCODES:,}")

    def _next(self) -> tuple[str, Any]:
        """The next opcode's name and argument, decoded only where the opcode is one of ours."""
        code = self.stream.read(1).decode("latin-1")
        if not code:
            raise ValueError("cut short: it ends without an end mark")
        opcode = OPCODES.get(code)
        if opcode is None:
            raise ValueError(f"{code!r} is no opcode of a pickle")
        if opcode.name == "INST":
            self._global(None)  # refuses by name, where the name is not in the table
        if opcode.name not in self.handlers and opcode.name != "STOP":
            raise CheckpointError(
                f"uses {opcode.name}, an opcode that no checkpoint needs; nothing was executed: "
                "do not load this file with torch.load or pickle"
            )
        # The decoder of GLOBAL takes backslashes for escapes, which pickle itself does not.
        decoder = opcode.arg.reader if opcode.arg and opcode.name != "GLOBAL" else None
        return opcode.name, decoder(self.stream) if decoder else None

    def _handlers(self) -> dict[str, Callable[[Any], None]]:
        return {
            **dict.fromkeys(LITERALS, self._push),
            **{name: self._pusher(make) for name, make in CONSTANTS.items()},
            "PROTO": self._protocol,
            "FRAME": self._frame,
            "MARK": self._mark,
            "BYTEARRAY8": lambda data: self._push(bytes(data)),
            "TUPLE": lambda _: self._push(tuple(self._since_mark())),
            "TUPLE1": lambda _: self._push(tuple(self._top(1))),
            "TUPLE2": lambda _: self._push(tuple(self._top(2))),
            "TUPLE3": lambda _: self._push(tuple(self._top(3))),
            "LIST": lambda _: self._push(self._since_mark()),
            "APPEND": lambda _: self._extend(self._top(1)),
            "APPENDS": lambda _: self._extend(self._since_mark()),
            "DICT": self._dict,
            "SETITEM": lambda _: self._set_items(self._top(2)),
            "SETITEMS": lambda _: self._set_items(self._since_mark()),
            "ADDITEMS": lambda _: self._add_members(self._since_mark()),
            "FROZENSET": lambda _: self._push(new_set(self._since_mark())),
            **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), self._recall),
            **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), self._remember),
            "MEMOIZE": lambda _: self._remember(len(self.memo)),
            "GLOBAL": self._global,
            "STACK_GLOBAL": self._stack_global,
            "REDUCE": self._reduce,
            "NEWOBJ": self._new_object,
            "BUILD": self._build,
            "BINPERSID": lambda _: self._push(self.persistent(self.stack.pop())),
        }

    # The stack and the memo.

    def _push(self, value: object) -> None:
        self.stack.append(value)

    def _pusher(self, make: Callable[[], object]) -> Callable[[Any], None]:
        return lambda _: self._push(make())

    def _top(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def _mark(self, _: object) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _since_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.below.pop()
        return values

    def _remember(self, index: int) -> None:
        if not 0 <= index < MAX_OPCODES:
            raise ValueError(f"expected a memo of less than {MAX_OPCODES:,} values, got number {index}")
        self.memo[index] = self.stack[-1]

    def _recall(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def _result(self) -> object:
        result = self.stack.pop()
        if self.stack or self.below:
            raise ValueError("more than one value is left at its end mark")
        if rest := self.size - self.stream.tell():
            raise ValueError(f"its end mark is followed by {rest} bytes")
        return result

    # Frames, and containers that are filled after they were made.

    def _protocol(self, version: int) -> None:
        if version > pickle.HIGHEST_PROTOCOL:
            raise ValueError(f"expected a pickle of protocol 0 to {pickle.HIGHEST_PROTOCOL}, got {version}")

    def _frame(self, length: int) -> None:
        rest = self.size - self.stream.tell()
        if length > rest:
            raise ValueError(f"cut short: a frame of {length} bytes is announced, {rest} are there")

    def _filled(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise ValueError(f"expected a {kind.__name__} to fill, got a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    def _extend(self, values: list[Any]) -> None:
        self._filled(list).extend(values)

    def _dict(self, _: object) -> None:
        items = self._since_mark()
        self.stack.append({})
        self._set_items(items)

    def _set_items(self, items: list[Any]) -> None:
        keys, values = items[::2], items[1::2]
        if len(keys) != len(values):
            raise ValueError("a key without a value")
        for key in keys:
            check_key(key)
        self._filled(dict).update(zip(keys, values, strict=True))

    def _add_members(self, members: list[Any]) -> None:
        self._filled(set).update(new_set(members))

    # Names, and what is built by them.

    def _global(self, _: object) -> None:
        module, name = self.stream.readline(), self.stream.readline()
        self._name(module.removesuffix(b"\n").decode(), name.removesuffix(b"\n").decode())

    def _stack_global(self, _: object) -> None:
        module, name = self._top(2)
        if type(module) is not str or type(name) is not str:
            raise ValueError("expected a module and a name")
        self._name(module, name)

    def _name(self, module: str, name: str) -> None:
        dotted = f"{module}.{name}"
        if dotted not in self.builders and not is_stand_in(dotted):
            raise CheckpointError(refusal(dotted))
        self.stack.append(Global(dotted))

    def _reduce(self, _: object) -> None:
        named, arguments = self._top(2)
        builder = self.builders.get(named.name) if type(named) is Global else None
        if builder is None or type(arguments) is not tuple:
            words = printable(named.name) if type(named) is Global else f"a {type(named).__name__}"
            raise ValueError(f"calls {words}, which is nothing to call")
        self._charge(arguments)
        try:
            self.stack.append(builder(*arguments))
        except (TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(f"{named.name}: {printable(str(error))}") from None

    def _new_object(self, _: object) -> None:
        named, arguments = self._top(2)
        if type(named) is not Global or not is_stand_in(named.name):
            raise ValueError("makes an object of something else than StandardScaler and V8FeatureProcessor")
        if type(arguments) is not tuple or arguments:
            raise ValueError(f"makes an object of {printable(named.name)} with arguments: it has none")
        self.stack.append(StandIn(named.name, {}))

    def _build(self, _: object) -> None:
        state = self.stack.pop()
        self._charge(state if type(state) is tuple else (state,))
        set_state(self.stack[-1], state)

    def _charge(self, arguments: tuple[Any, ...]) -> None:
        for value in arguments:
            if type(value) in (str, bytes):
                self.copied += len(value)
            elif type(value) in (list, tuple, dict):
                self.copied += BYTES_PER_MEMBER * len(value)
        if self.copied > MAX_COPIED:
            raise CheckpointError(f"builds more than {MAX_COPIED:,} bytes, out of {self.size:,}: no checkpoint does")
