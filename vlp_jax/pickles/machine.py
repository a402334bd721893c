"""A pickle interpreter that executes nothing: unknown globals become opaque placeholders."""

import pickletools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from vlp_jax.pickles.safety import Constructor, Opaque, check_depth, check_key

# One checkpoint key costs about 40 operations, so this is room for some 50 000 tensors.
MAX_OPERATIONS = 2_000_000
MAX_INTEGER_BITS = 1024
BYTES_PER_OPERATION = 64


class PickleMachine:
    """Interprets one pickle.

    Args:
        find_global: (module, name) -> a value, a `Constructor` or an `Opaque`.
        load_persistent: persistent id -> object (torch: storages).
        builders: type -> function(object, state), for the BUILD opcode; other types ignore it.
    """

    def __init__(
        self,
        find_global: Callable[[str, str], Any],
        load_persistent: Callable[[Any], Any],
        builders: Mapping[type, Callable[[Any, Any], None]],
    ):
        self.find_global = find_global
        self.load_persistent = load_persistent
        self.builders = builders
        self.stack: list[Any] = []
        self.frames: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.operations_left = MAX_OPERATIONS

    def run(self, stream: BinaryIO) -> Any:
        """Returns the pickled object and leaves `stream` behind the STOP opcode.

        Raises ValueError for anything that is not a well-formed, moderately sized pickle.
        """
        try:
            for name, argument in read_operations(stream):
                self.spend(1)
                OPERATIONS[name](self, argument)
            result = self.stack.pop()
            check_depth(result)
        except ValueError as error:
            raise ValueError(shorten(error)) from None
        except Exception as error:  # hostile bytes can raise anything; callers see one kind
            raise ValueError(f"damaged pickle: {type(error).__name__}: {shorten(error)}") from None
        return result

    def spend(self, amount: int) -> None:
        """Counts work, so that a small file cannot ask for a long run or much memory."""
        self.operations_left -= amount
        if self.operations_left < 0:
            raise ValueError(f"the pickle needs more than {MAX_OPERATIONS} operations")

    def spend_on(self, values: tuple[Any, ...]) -> None:
        """Counts the work of a call that may copy its arguments."""
        self.spend(len(values))
        for value in values:
            if isinstance(value, (str, bytes)):
                self.spend(len(value) // BYTES_PER_OPERATION)
            elif isinstance(value, (list, tuple, dict, set, frozenset)):
                self.spend(len(value))

    def pop_frame(self) -> list[Any]:
        """Returns everything above the last MARK."""
        items, self.stack = self.stack, self.frames.pop()
        return items

    def call(self, function: Any, arguments: Any) -> Any:
        """Makes an object from an allowed constructor, or another opaque one."""
        if isinstance(function, Opaque):
            return Opaque(function.module, function.name)
        if not isinstance(function, Constructor) or not isinstance(arguments, tuple):
            raise ValueError(f"damaged pickle: calls a {type(function).__name__}")
        self.spend_on(arguments)
        return function.call(*arguments)

    def build(self, target: Any, state: Any) -> None:
        """Gives `target` its pickled state where its type is known to need one."""
        builder = self.builders.get(type(target))
        if builder is not None:
            self.spend_on(state if isinstance(state, tuple) else (state,))
            builder(target, state)

    def fill(self, target: Any, items: list[Any], kind: type, add: Callable[[Any], None]) -> None:
        """Adds items to a container; an opaque container drops them."""
        if type(target) is kind:
            add(items)
        elif not isinstance(target, Opaque):
            raise ValueError(
                f"damaged pickle: fills a {type(target).__name__} like a {kind.__name__}"
            )


def read_operations(stream: BinaryIO) -> Iterator[tuple[str, Any]]:
    """Yields (opcode name, argument) up to STOP."""
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            yield opcode.name, argument
    except ValueError as error:
        raise ValueError(f"damaged or truncated pickle: {error}") from None


def shorten(error: Exception) -> str:
    """Returns the error's text, cut to a readable length."""
    text = str(error)
    return text if len(text) <= 400 else text[:400] + "…"


def _push(machine: PickleMachine, argument: Any) -> None:
    machine.stack.append(argument)


def _push_integer(machine: PickleMachine, argument: int) -> None:
    if argument.bit_length() > MAX_INTEGER_BITS:
        raise ValueError(f"the pickle holds an integer of more than {MAX_INTEGER_BITS} bits")
    machine.stack.append(argument)


def _push_new(make: Callable[[], Any]) -> Callable[[PickleMachine, Any], None]:
    return lambda machine, _: machine.stack.append(make())


def _proto(machine: PickleMachine, version: int) -> None:
    if not 0 <= version <= 5:
        raise ValueError(f"pickle protocol {version} is unknown; expected 0 to 5")


def _ignore(machine: PickleMachine, _: Any) -> None:
    pass


def _mark(machine: PickleMachine, _: Any) -> None:
    machine.frames.append(machine.stack)
    machine.stack = []


def _pop(machine: PickleMachine, _: Any) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_frame()


def _pop_mark(machine: PickleMachine, _: Any) -> None:
    machine.pop_frame()


def _dup(machine: PickleMachine, _: Any) -> None:
    machine.stack.append(machine.stack[-1])


def _put(machine: PickleMachine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


def _memoize(machine: PickleMachine, _: Any) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _get(machine: PickleMachine, index: int) -> None:
    machine.stack.append(machine.memo[index])


def _tuple_of(count: int) -> Callable[[PickleMachine, Any], None]:
    def make(machine: PickleMachine, _: Any) -> None:
        items = [machine.stack.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(items)))

    return make


def _tuple(machine: PickleMachine, _: Any) -> None:
    items = machine.pop_frame()
    machine.stack.append(tuple(items))


def _list(machine: PickleMachine, _: Any) -> None:
    items = machine.pop_frame()
    machine.stack.append(items)


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise ValueError("damaged pickle: a dictionary key without a value")
    return {check_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _dict(machine: PickleMachine, _: Any) -> None:
    items = machine.pop_frame()
    machine.stack.append(_pairs(items))


def _frozenset(machine: PickleMachine, _: Any) -> None:
    items = machine.pop_frame()
    machine.stack.append(frozenset(check_key(item) for item in items))


def _append(machine: PickleMachine, _: Any) -> None:
    item = machine.stack.pop()
    target = machine.stack[-1]
    machine.fill(target, [item], list, lambda items: target.extend(items))


def _appends(machine: PickleMachine, _: Any) -> None:
    items = machine.pop_frame()
    target = machine.stack[-1]
    machine.fill(target, items, list, lambda items: target.extend(items))


def _setitem(machine: PickleMachine, _: Any) -> None:
    value = machine.stack.pop()
    key = machine.stack.pop()
    target = machine.stack[-1]
    machine.fill(target, [key, value], dict, lambda items: target.update(_pairs(items)))


def _setitems(machine: PickleMachine, _: Any) -> None:
    items = machine.pop_frame()
    target = machine.stack[-1]
    machine.fill(target, items, dict, lambda items: target.update(_pairs(items)))


def _additems(machine: PickleMachine, _: Any) -> None:
    items = machine.pop_frame()
    target = machine.stack[-1]
    machine.fill(target, items, set, lambda items: target.update(map(check_key, items)))


def _global(machine: PickleMachine, argument: str) -> None:
    module, _, name = argument.partition(" ")
    machine.stack.append(machine.find_global(module, name))


def _stack_global(machine: PickleMachine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise ValueError("damaged pickle: a global without a name")
    machine.stack.append(machine.find_global(module, name))


def _reduce(machine: PickleMachine, _: Any) -> None:
    arguments, function = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(machine.call(function, arguments))


def _newobj_ex(machine: PickleMachine, _: Any) -> None:
    keywords = machine.stack.pop()
    if keywords and not isinstance(machine.stack[-2], Opaque):
        raise ValueError("damaged pickle: keyword arguments for an allowed class")
    _reduce(machine, None)


def _obj(machine: PickleMachine, _: Any) -> None:
    function, *arguments = machine.pop_frame()
    machine.stack.append(machine.call(function, tuple(arguments)))


def _inst(machine: PickleMachine, argument: str) -> None:
    arguments = tuple(machine.pop_frame())
    _global(machine, argument)
    machine.stack.append(machine.call(machine.stack.pop(), arguments))


def _build(machine: PickleMachine, _: Any) -> None:
    state = machine.stack.pop()
    machine.build(machine.stack[-1], state)


def _persistent(machine: PickleMachine, argument: str) -> None:
    machine.stack.append(machine.load_persistent(argument))


def _binary_persistent(machine: PickleMachine, _: Any) -> None:
    machine.stack.append(machine.load_persistent(machine.stack.pop()))


def _refuse(reason: str) -> Callable[[PickleMachine, Any], None]:
    def refuse(machine: PickleMachine, _: Any) -> None:
        raise ValueError(f"the pickle uses {reason}, which no checkpoint does")

    return refuse


OPERATIONS: dict[str, Callable[[PickleMachine, Any], None]] = {
    **dict.fromkeys("INT BININT BININT1 BININT2 LONG LONG1 LONG4".split(), _push_integer),
    **dict.fromkeys("STRING BINSTRING SHORT_BINSTRING UNICODE SHORT_BINUNICODE".split(), _push),
    **dict.fromkeys("BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8".split(), _push),
    **dict.fromkeys("BYTEARRAY8 FLOAT BINFLOAT".split(), _push),
    **dict.fromkeys("EXT1 EXT2 EXT4".split(), _refuse("the extension registry")),
    **dict.fromkeys("NEXT_BUFFER READONLY_BUFFER".split(), _refuse("out-of-band buffers")),
    **dict.fromkeys("PUT BINPUT LONG_BINPUT".split(), _put),
    **dict.fromkeys("GET BINGET LONG_BINGET".split(), _get),
    **dict.fromkeys("REDUCE NEWOBJ".split(), _reduce),
    **dict.fromkeys("FRAME STOP".split(), _ignore),
    "NONE": _push_new(lambda: None), "NEWTRUE": _push_new(lambda: True),
    "NEWFALSE": _push_new(lambda: False), "EMPTY_LIST": _push_new(list),
    "EMPTY_DICT": _push_new(dict), "EMPTY_TUPLE": _push_new(tuple), "EMPTY_SET": _push_new(set),
    "TUPLE1": _tuple_of(1), "TUPLE2": _tuple_of(2), "TUPLE3": _tuple_of(3), "TUPLE": _tuple,
    "LIST": _list, "DICT": _dict, "FROZENSET": _frozenset,
    "APPEND": _append, "APPENDS": _appends, "SETITEM": _setitem, "SETITEMS": _setitems,
    "ADDITEMS": _additems, "MARK": _mark, "POP": _pop, "POP_MARK": _pop_mark, "DUP": _dup,
    "MEMOIZE": _memoize, "PROTO": _proto, "GLOBAL": _global, "STACK_GLOBAL": _stack_global,
    "NEWOBJ_EX": _newobj_ex, "OBJ": _obj, "INST": _inst, "BUILD": _build,
    "PERSID": _persistent, "BINPERSID": _binary_persistent,
}  # fmt: skip
