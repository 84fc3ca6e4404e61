"""Files that attack whoever loads them, written opcode by opcode, and the words they must be refused with.

Each payload that can run anything makes a file called `marker` in the working directory.
"""

import copy
import io
import os
import pickle
import struct
import subprocess
import warnings
import zipfile
from collections.abc import Callable, Mapping
from math import prod

from export.checkpoints.pickle_machine import MAX_OPCODES

MARKER = "marker"
TOUCH = f"touch {MARKER}"


# An assembler of pickles: each function returns the opcodes that push one value.


def pickled(body: bytes) -> bytes:
    return b"\x80\x04" + body + b"."


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def name(dotted: str) -> bytes:
    module, _, last = dotted.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def stacked_name(module: str, last: str) -> bytes:
    return text(module) + text(last) + b"\x93"


def of(opcode: bytes, *parts: bytes) -> bytes:
    """MARK, the parts, and the opcode that takes them: t a tuple, l a list, d a dictionary."""
    return b"(" + b"".join(parts) + opcode


def call(dotted: str, *arguments: bytes) -> bytes:
    return name(dotted) + of(b"t", *arguments) + b"R"


def scaler(*state: bytes) -> bytes:
    return name("sklearn.preprocessing._data.StandardScaler") + b")\x81" + of(b"d", *state) + b"b"


def dtype(code: str, order: str = "<") -> bytes:
    state = of(b"t", number(3), text(order), b"NNN", number(-1), number(-1), number(0))
    return call("numpy.dtype", text(code), b"\x89", b"\x88") + state + b"b"


def array(shape: bytes, kind: bytes, data: bytes) -> bytes:
    made = call("numpy.core.multiarray._reconstruct", name("numpy.ndarray"), of(b"t", number(0)), text("b"))
    return made + of(b"t", number(1), shape, kind, b"\x89", data) + b"b"


def bomb(seed: bytes, times: int = 40) -> bytes:
    """Lists of two: of the seed, of that list, …; each half comes out of the memo, 2**times seeds for who walks it."""
    pairs = [b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(times)]
    return of(b"t", seed + b"q\0", *pairs)


class Reduced:
    """What the standard library pickles as a call."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.function, self.arguments


# torch's zips.


def zipped(entries: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for path, data in entries.items():
            archive.writestr(path, data)
    return file.getvalue()


def torch_zip(body: bytes, **entries: bytes) -> bytes:
    """A checkpoint as torch.save lays it out; entries: others, in its folder."""
    files = {"data.pkl": pickled(body), "byteorder": b"little", "data/0": bytes(16), **entries}
    return zipped({f"a/{path}": data for path, data in files.items()})


def storage(key: str = "0", length: int = 4, kind: str = "torch.FloatStorage") -> bytes:
    return of(b"t", text("storage"), name(kind), text(key), text("cpu"), number(length)) + b"Q"


def tensor(size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, stored: bytes | None = None) -> bytes:
    shapes = [of(b"t", *map(number, numbers)) for numbers in (size, stride)]
    arguments = [stored or storage(), number(offset), *shapes, b"\x89", call("collections.OrderedDict")]
    return call("torch._utils._rebuild_tensor_v2", *arguments)


def checkpoint(*entries: bytes, state: bytes = b"", numbers: int = 16) -> bytes:
    """A sound network of 4 inputs for BTC-USD, and whatever else its dictionaries hold; its storage is all zeros."""
    stored = storage(length=numbers)
    weights = (
        *(text("fc1.weight"), tensor((3, 4), (4, 1), stored=stored)),
        *(text("fc1.bias"), tensor((3,), (1,), stored=stored)),
    )
    content = of(b"d", text("model_state_dict"), of(b"d", *weights, state), *entries)
    return torch_zip(content, **{"data/0": bytes(4 * numbers)})


def state_dict(shapes: Mapping[str, tuple[int, ...]], numbers: int, *entries: bytes) -> bytes:
    """Tensors of these shapes, all of them views of the beginning of one storage; entries: beside the state dict."""
    named = []
    for path, shape in shapes.items():
        stride = tuple(prod(shape[i + 1 :]) for i in range(len(shape)))
        named += [text(path), tensor(shape, stride, stored=storage(length=numbers))]
    content = of(b"d", text("model_state_dict"), of(b"d", *named), *entries)
    return torch_zip(content, **{"data/0": bytes(4 * numbers)})


def lstm_shapes(layers: int, hidden: int) -> dict[str, tuple[int, ...]]:
    parts = {"weight_ih": (4 * hidden, hidden), "weight_hh": (4 * hidden, hidden)}
    parts |= {"bias_ih": (4 * hidden,), "bias_hh": (4 * hidden,)}
    return {f"lstm.{part}_l{i}": shape for i in range(layers) for part, shape in parts.items()}


def linear_shapes(layers: int, width: int) -> dict[str, tuple[int, ...]]:
    weights = {f"fc{i}.weight": (width, width) for i in range(1, layers + 1)}
    return weights | {f"fc{i}.bias": (width,) for i in range(1, layers + 1)}


def means(mean: bytes, scale: bytes) -> bytes:
    return text("scaler_params") + of(b"d", text("mean"), mean, text("scale"), scale)


def text_array(value: str) -> bytes:
    """The bytes of numpy's array of its characters."""
    return b"B" + struct.pack("<I", 4 * len(value)) + value.encode("utf-32-le")


def nested(members: int, depth: int) -> bytes:
    """A tuple of dictionaries: each has the one before it under all its keys."""
    keys = [text(f"{key}") for key in range(members)]
    levels = [of(b"d", *[key + b"h" + bytes([i]) for key in keys]) + b"q" + bytes([i + 1]) for i in range(depth)]
    return of(b"t", number(1) + b"q\0", *levels)


def v8_lstm_with_heads(heads: bytes) -> bytes:
    """V8's LSTM of width 8."""
    shapes: dict[str, tuple[int, ...]] = {}
    for stack, inputs, directions in (("lstm1", 8, ("", "_reverse")), ("lstm2", 16, ("",))):
        for direction in directions:
            shapes |= {f"{stack}.weight_ih_l0{direction}": (32, inputs), f"{stack}.weight_hh_l0{direction}": (32, 8)}
            shapes |= {f"{stack}.{bias}_l0{direction}": (32,) for bias in ("bias_ih", "bias_hh")}
    shapes |= {"layer_norm.weight": (8,), "layer_norm.bias": (8,)}
    shapes |= {"attention.in_proj_weight": (24, 8), "attention.in_proj_bias": (24,)}
    shapes |= {"attention.out_proj.weight": (8, 8), "attention.out_proj.bias": (8,)}
    shapes |= {f"fc{i}.{part}": shape for i in (1, 2, 3) for part, shape in (("weight", (8, 8)), ("bias", (8,)))}
    return state_dict(shapes, 512, text("config"), of(b"d", text("num_heads"), heads))


def real(value: float) -> bytes:
    return b"G" + struct.pack(">d", value)


def overlapping() -> bytes:
    """Two entries of a directory that are the same bytes of the file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", pickled(b"N"))
        archive.writestr("a/data/0", bytes(1000))
        for key in range(1, 100):
            twin = copy.copy(archive.getinfo("a/data/0"))
            twin.filename = f"a/data/{key}"
            archive.filelist.append(twin)
    return file.getvalue()


def flagged(data: bytes) -> bytes:
    """The same zip with the first entry's flag of encryption set in the directory."""
    flags = data.index(b"PK\x01\x02") + 8
    return data[:flags] + b"\x01" + data[flags + 1 :]


def duplicated() -> bytes:
    with warnings.catch_warnings(action="ignore"):  # zipfile's own, of the name
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a/data.pkl", pickled(b"N"))
            archive.writestr("a/data.pkl", pickled(call("os.system", text(TOUCH))))
    return file.getvalue()


def calls() -> dict[str, tuple[bytes, str]]:
    """A call of each name, refused by that name."""
    arguments = {
        "os.system": TOUCH,
        "posix.system": TOUCH,
        "nt.system": TOUCH,
        "subprocess.getoutput": TOUCH,
        "builtins.eval": f"open('{MARKER}', 'w')",
        "builtins.exec": f"open('{MARKER}', 'w')",
        "__builtin__.eval": f"open('{MARKER}', 'w')",
        "builtins.open": MARKER,
        "builtins.getattr": "system",
        "builtins.__import__": "os",
        "importlib.import_module": "os",
        "operator.attrgetter": "system",
        "functools.partial": "system",
        "runpy.run_path": MARKER,
        "pickle.loads": "",
        "codecs.decode": "",
        "numpy.load": MARKER,
        "joblib.load": MARKER,
        "torch.load": MARKER,
        "torch.hub.load": MARKER,
        "torch.jit.load": MARKER,
        "torch.nn.Linear": "",
        "__main__.Trainer": "",
    }
    return {
        f"a call of {called}": (pickled(call(called, text(argument))), refused(called))
        for called, argument in arguments.items()
    }


def refused(called: str) -> str:
    return f"refers to {called}, which is no part of a checkpoint; nothing was executed: do not load"


RUNS = call("os.system", text(TOUCH))

PICKLES: dict[str, tuple[bytes, str]] = {
    **calls(),
    # Pickled as an attacker would, by the standard library.
    "reduce of os.system": (pickle.dumps(Reduced(os.system, TOUCH)), refused("posix.system")),
    "reduce of Popen": (pickle.dumps(Reduced(subprocess.Popen, ["touch", MARKER])), refused("subprocess.Popen")),
    "reduce of eval, protocol 0": (pickle.dumps(Reduced(eval, TOUCH), 0), refused("__builtin__.eval")),
    # Names where one would not look for them.
    "in a scaler's attributes": (pickled(scaler(text("mean_"), RUNS)), refused("os.system")),
    "in a dictionary's key": (pickled(of(b"d", RUNS, b"N")), refused("os.system")),
    "as an array's data": (pickled(array(of(b"t", number(1)), dtype("O8"), of(b"l", RUNS))), refused("os.system")),
    "__setstate__ of an unknown class": (
        pickled(name("shutil.Loader") + b")\x81" + of(b"d", text("command"), text(TOUCH)) + b"b"),
        refused("shutil.Loader"),
    ),
    "copyreg": (
        pickled(call("copyreg._reconstructor", name("os._wrap_close"), name("builtins.object"), b"N")),
        refused("copyreg._reconstructor"),
    ),
    "a chain of getattr": (
        pickled(stacked_name("builtins", "getattr") + of(b"t", stacked_name("os", "path"), text("os")) + b"R"),
        refused("builtins.getattr"),
    ),
    "a name with a path": (
        pickled(stacked_name("collections", "abc.sys.modules")),
        refused("collections.abc.sys.modules"),
    ),
    "a name behind a known one": (
        pickled(stacked_name("torch._utils", "os.system")),
        refused("torch._utils.os.system"),
    ),
    "a name that is no text": (pickled(number(1) + number(2) + b"\x93"), "expected a module and a name"),
    "a name with escapes": (pickled(b"c\\x6fs\nsystem\n"), r"refers to .*x6fs\.system"),
    "INST": (pickled(b"(" + text(TOUCH) + b"ios\nsystem\n"), refused("os.system")),
    "INST of a known name": (pickled(b"(icollections\nOrderedDict\n"), "uses INST, an opcode that no checkpoint needs"),
    "OBJ": (pickled(b"(" + name("os.system") + text(TOUCH) + b"o"), refused("os.system")),
    "OBJ of a known name": (pickled(b"(" + name("collections.OrderedDict") + b"o"), "uses OBJ, an opcode"),
    "EXT1": (pickled(b"\x82\x01"), "uses EXT1, an opcode"),
    "EXT4": (pickled(b"\x84\x01\0\0\0"), "uses EXT4, an opcode"),
    "PERSID": (pickled(b"P0\n"), "uses PERSID, an opcode"),
    "a persistent id": (pickled(text("0") + b"Q"), "refers to a value outside the file"),
    "an object of a builder": (
        pickled(name("collections.OrderedDict") + b")\x81"),
        "makes an object of something else",
    ),
    "a call of a class": (pickled(call("__main__.V8FeatureProcessor")), "calls __main__.V8FeatureProcessor"),
    "a call of a text": (pickled(text("os.system") + b")R"), "calls a str, which is nothing to call"),
    "attributes of a number": (pickled(number(1) + b"}b"), "expected an object that can have attributes, got a int"),
    "an object made with arguments": (
        pickled(name("__main__.V8FeatureProcessor") + of(b"t", text(TOUCH)) + b"\x81"),
        "makes an object of __main__.V8FeatureProcessor with arguments",
    ),
    "attributes that have no names": (
        pickled(name("__main__.V8FeatureProcessor") + b")\x81" + of(b"d", number(1), b"N") + b"b"),
        "expected the attributes of __main__.V8FeatureProcessor by name",
    ),
    # numpy.
    "an array without data": (
        pickled(call("numpy.core.multiarray._reconstruct", name("numpy.ndarray"), of(b"t", number(0)), text("b"))),
        "holds a numpy array without its data",
    ),
    "a dtype with fields": (
        pickled(
            call("numpy.dtype", text("f8")) + of(b"t", number(3), text("<"), b"N", text("a"), b"}", *[b"N"] * 3) + b"b"
        ),
        "expected a plain dtype, got a structured one",
    ),
    "an array of objects": (pickled(array(of(b"t", number(1)), dtype("O8"), of(b"l", b"}"))), "dtype object"),
    "a scalar of objects": (pickled(call("numpy.core.multiarray.scalar", dtype("O8"), b"C\0")), "got dtype object"),
    "a structured dtype": (pickled(dtype("V16")), "numpy.dtype: expected a dtype of numbers or text, got V16"),
    "a big-endian dtype": (pickled(dtype("f8", ">")), "expected little-endian numbers, got byte order >"),
    "an array of 2**60 numbers": (
        pickled(array(of(b"t", number(2**60)), dtype("f8"), b"C\x08" + bytes(8))),
        "8 bytes are not its size",
    ),
    "a text array of no characters": (
        pickled(array(of(b"t", number(1)), dtype("U1"), b"C\x04" + b"\xff" * 4)),
        "code point not in range",
    ),
    # Bombs.
    "a bomb of lists": (pickled(bomb(b"]")), "expands to more than"),
    "a bomb of text": (pickled(bomb(text("ha" * 100_000), 10)), "expands to more than"),
    "a bomb of tuples": (
        pickled(b")" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(40))),
        "expands to more than",
    ),
    "a bomb as a type of numbers": (
        pickled(call("numpy.dtype", bomb(b"]"))),
        "numpy.dtype: expected a dtype of numbers or text, got a tuple",
    ),
    "a bomb as a byte order": (
        pickled(call("numpy.dtype", text("f8")) + of(b"t", b"K\3", bomb(b"]"), *[b"N"] * 6) + b"b"),
        "expected little-endian numbers, got byte order a tuple",
    ),
    "text that is not latin1": (
        pickled(call("_codecs.encode", text("é€"), text("latin1"))),
        "_codecs.encode: 'latin-1'",
    ),
    "a bomb as a key": (pickled(of(b"d", bomb(b")"), b"N")), "expected keys that are text or numbers, got a tuple"),
    "keys that collide": (
        pickled(of(b"d", *(number(i * (2**61 - 1)) + b"N" for i in range(30_000)))),
        "expected whole numbers of at most 64 bits as keys",
    ),
    "a list in itself": (pickled(b"]q\0(h\0e"), "contains itself"),
    "90,000 lists in one another": (pickled(b"]" * 45_000 + b"a" * 44_999), "at most 50 containers in one another"),
    "more opcodes than allowed": (pickled(of(b"t", b"\x8f" * MAX_OPCODES)), "got more than 100,000"),
    "the same bytes decoded again and again": (
        pickled(of(b"t", text("a" * 10**6) + b"q\0", *[call("_codecs.encode", b"h\0", text("latin1"))] * 1000)),
        "builds more than 67,108,864 bytes",
    ),
    # Lengths.
    "BYTEARRAY8 of 2**40 bytes": (pickled(b"\x96" + struct.pack("<Q", 2**40)), "expected 1099511627776 bytes"),
    "BINBYTES of 4 GB": (pickled(b"B" + struct.pack("<I", 2**32 - 1)), "expected 4294967295 bytes"),
    "BINUNICODE8 of 2**62 bytes": (pickled(b"\x8d" + struct.pack("<Q", 2**62)), "uses BINUNICODE8, an opcode"),
    "LONG4 of 2 GB": (pickled(b"\x8b" + struct.pack("<i", 2**31 - 1)), "uses LONG4, an opcode"),
    "a frame of 2**40 bytes": (pickled(b"\x95" + struct.pack("<Q", 2**40)), "a frame of 1099511627776 bytes"),
    "LONG_BINPUT of 2**31": (
        pickled(b"Nr" + struct.pack("<I", 2**31)),
        "a memo of less than 100,000 values, got number",
    ),
    "a number of a million digits": (pickled(b"I" + b"9" * 10**6 + b"\n"), "at byte 2: Exceeds the limit"),
    "more than a pickle may have": (pickled(text("a" * 2**24)), "expected a pickle of at most 8,388,608 bytes"),
    # Damage.
    "half a surrogate pair": (pickled(b"X\3\0\0\0\xed\xa0\x80"), "holds text that is no Unicode"),
    "a key without a value": (pickled(of(b"d", b"N")), "a key without a value"),
    "a number appended to a dictionary": (pickled(b"}Na"), "expected a list to fill, got a dict"),
    "nothing but an end mark": (b".", "takes a value that nothing has put there"),
    "no opcode": (pickled(b"\xff"), "is no opcode of a pickle"),
    "cut short": (pickle.dumps(list(range(1000)), 4)[:-500], "cut short: a frame of"),
    "cut short, protocol 2": (pickle.dumps(list(range(1000)), 2)[:-500], "at byte"),
    "a memo that nothing is in": (pickled(b"h\x05"), "takes a value that nothing has put there"),
    "a second pickle behind the first": (pickled(b"N") + pickled(RUNS), "its end mark is followed by"),
    "protocol 99": (b"\x80\x63N.", "expected a pickle of protocol 0 to 5, got 99"),
}

ZIPS: dict[str, tuple[bytes, str]] = {
    "os.system in a checkpoint": (torch_zip(RUNS), r"a/data\.pkl: " + refused("os.system")),
    "os.system in a tensor's storage": (torch_zip(tensor((1,), (1,), stored=RUNS)), refused("os.system")),
    # The zip itself.
    "a path out of the folder": (
        torch_zip(b"N", **{"../../../x": b""}),
        r"a/\.\./\.\./\.\./x leads out of the archive",
    ),
    "an absolute path": (zipped({"/a/data.pkl": pickled(b"N")}), "/a/data.pkl leads out of the archive"),
    "a path of Windows": (torch_zip(b"N", **{"b\\..\\..\\x": b""}), "leads out of the archive"),
    "an entry twice": (duplicated(), "entry a/data.pkl is there twice"),
    "a bomb that is compressed": (
        zipped({"a/data.pkl": pickled(b"N"), "a/data/0": bytes(10**8)}, zipfile.ZIP_DEFLATED),
        "is compressed to",
    ),
    "a bomb of entries that overlap": (overlapping(), r"its entries claim 100,\d+ bytes, the file has"),
    "an entry that is encrypted": (flagged(torch_zip(b"N")), "entry a/data.pkl is encrypted"),
    "a directory of 30,000 entries": (zipped({f"a/data/{i}": b"" for i in range(30_000)}), "its directory has"),
    "cut short in the directory": (torch_zip(b"N")[:-30], "cut short: .* copy the file again"),
    "a directory that is not there": (
        torch_zip(b"N")[:-22] + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 9, 9, 2**20, 2**20, 0),
        "a damaged zip archive",
    ),
    "one bit changed": (torch_zip(b"N").replace(b"N.", b"\x88."), "data.pkl is damaged: Bad CRC-32"),
    "no data.pkl": (zipped({"a/version": b"3"}), "expected a zip of torch.save with one data.pkl in its folder, got 0"),
    "two data.pkl": (zipped({"a/data.pkl": b"", "b/data.pkl": b""}), "got 2 of them"),
    "TorchScript": (torch_zip(b"N", **{"constants.pkl": b""}), "a TorchScript archive, which holds code"),
    "numbers of a big-endian machine": (
        torch_zip(b"N", byteorder=b"big"),
        "expected little-endian numbers, got byte order",
    ),
    # Storages.
    "a storage that is declared huge": (
        torch_zip(tensor((2**40,), (1,), stored=storage(length=2**40))),
        "expected 4,398,046,511,104 bytes in a/data/0, the archive has 16",
    ),
    "a storage longer than its entry": (
        torch_zip(storage(length=5)),
        "expected 20 bytes in a/data/0, the archive has 16",
    ),
    "a storage that is not there": (torch_zip(storage("7")), "in a/data/7, the archive has no such entry"),
    "a storage outside": (torch_zip(storage("../../etc/passwd")), "etc/passwd, the archive has no such entry"),
    "a storage of a negative length": (torch_zip(storage(length=-1)), "expected a storage as persistent id"),
    "a storage of no storage's type": (
        torch_zip(storage(kind="collections.OrderedDict")),
        "expected a storage as pers",
    ),
    "a storage of two types": (
        torch_zip(of(b"t", tensor((1,), (1,)), tensor((1,), (1,), stored=storage("0", 2, "torch.LongStorage")))),
        "storage 0: referred to once with one type",
    ),
    "a persistent id of another kind": (
        torch_zip(of(b"t", text("module"), text(TOUCH)) + b"Q"),
        "expected a storage as p",
    ),
    "a bomb as a storage": (torch_zip(of(b"t", *[bomb(b"]")] * 5) + b"Q"), "expected a storage as persistent id"),
    "a storage without a tensor": (torch_zip(storage()), "holds a bare Storage"),
    # Tensors.
    "a tensor larger than its storage": (torch_zip(tensor((5,), (1,))), "needs 5 numbers, its storage has 4"),
    "a stride beyond the storage": (torch_zip(tensor((2, 2), (1000, 1))), "needs 1,002 numbers, its storage has 4"),
    "a negative stride": (torch_zip(tensor((2,), (-1,))), "expected a shape of whole numbers from 0"),
    "an offset beyond the storage": (torch_zip(tensor((1,), (1,), 4)), "needs 5 numbers, its storage has 4"),
    "a negative offset": (torch_zip(tensor((1,), (1,), -1)), "expected an offset from 0"),
    "an empty tensor of 2**62 columns": (torch_zip(tensor((0, 2**62), (1, 1))), "array is too big"),
    "a tensor of one number 2**40 times": (torch_zip(tensor((2**40,), (0,))), "numbers out of the 4 of its storage"),
    "a tensor of 100 dimensions": (torch_zip(tensor((1,) * 100, (1,) * 100)), "a shape of at most 8 dimensions"),
}

FOUR = of(b"l", *[number(1)] * 4)
MANY = of(b"l", *[text(f"c{i}") for i in range(60_000)])

CONTENTS: dict[str, tuple[bytes, str]] = {
    # What the reader takes for plain values, and the importer must not stumble over.
    "60,000 names of columns": (
        checkpoint(text("feature_columns"), MANY),
        "feature_columns: expected the names of 4 columns, got 60,000",
    ),
    "16,000 names in an array": (
        checkpoint(text("feature_columns"), array(of(b"t", number(16_000)), dtype("U1"), text_array("x" * 16_000))),
        "feature_columns: expected the names of 4 columns, got 16,000",
    ),
    "60,000 names in a scaler": (
        checkpoint(text("scaler"), scaler(text("mean_"), FOUR, text("scale_"), FOUR, text("feature_names_in_"), MANY)),
        "expected the names of 4 columns, got 60,000",
    ),
    "a column that steers the terminal": (
        checkpoint(text("feature_columns"), of(b"l", *[text(f"\x1b[2J{i}") for i in range(4)])),
        "feature_columns: expected names of printable text",
    ),
    "lists in lists as temperature": (
        checkpoint(text("temperature"), of(b"l", of(b"l", number(1)), number(2))),
        "temperature: expected a number, got a list",
    ),
    "a temperature beyond all floats": (
        checkpoint(text("temperature"), number(10**400)),
        "temperature: expected a number from 0.001 to 10,000, got inf",
    ),
    "a temperature of almost 0": (checkpoint(text("temperature"), real(5e-324)), "from 0.001 to 10,000, got 4.9"),
    "a temperature of 7 MB": (checkpoint(text("temperature"), text("9" * 7_000_000)), "expected a number, got 999"),
    "a clamp beyond all logits": (checkpoint(text("logit_clip"), real(1e308)), "from 0.001 to 1,000,000, got 1e.308"),
    "means in words": (
        checkpoint(means(of(b"l", *[text("1")] * 4), FOUR)),
        "expected one mean .* as numbers, got list",
    ),
    "means that numpy would pad": (
        checkpoint(means(of(b"l", text("a" * 10**6), *[text("b")] * 1000), FOUR)),
        "expected one mean .* as numbers, got list",
    ),
    "means that are ragged": (
        checkpoint(means(of(b"l", of(b"l", number(1)), number(2)), FOUR)),
        "expected one mean .* as numbers, got list",
    ),
    "complex means": (
        checkpoint(means(array(of(b"t", number(4)), dtype("c16"), b"C\x40" + bytes(64)), FOUR)),
        "expected one mean .* as numbers, got ndarray",
    ),
    "scales of almost 0": (
        checkpoint(means(FOUR, of(b"l", *[real(5e-324)] * 4))),
        "expected finite means and scales of at least 0, in float32's range",
    ),
    "a layer numbered with 5,000 digits": (
        checkpoint(state=text(f"fc{'9' * 5000}.weight") + tensor((4,), (1,), stored=storage(length=16))),
        "expected no further tensors, got fc999",
    ),
    "a tensor that steers the terminal": (
        state_dict({"\x1b[2Jfc1.weight": (4, 4)}, 16),
        r"as the known networks have, got \\x1b\[2Jfc1.weight",
    ),
    "a layer without inputs": (state_dict({"fc1.weight": (3, 0), "fc1.bias": (3,)}, 4), "expected 1 to 4,096 inputs"),
    "a layer without outputs": (
        state_dict({"fc1.weight": (0, 3), "fc1.bias": (0,)}, 4),
        "at least one output, got none",
    ),
    "a layer of no dimensions": (state_dict({"fc1.weight": (), "fc1.bias": ()}, 4), "expected a matrix"),
    "an LSTM of no width": (state_dict(lstm_shapes(1, 0), 4), "expected 1 to 4,096 inputs, got 0"),
    "400 layers of an LSTM": (state_dict(lstm_shapes(400, 1), 4), "lstm: expected at most 16 layers, got 17"),
    "100 linear layers": (state_dict(linear_shapes(100, 1), 4), "fc1, fc2, …: expected at most 16 layers, got 100"),
    "a million columns": (
        state_dict({"fc1.weight": (3, 10**6), "fc1.bias": (3,)}, 3 * 10**6),
        "expected 1 to 4,096 inputs, got 1,000,000",
    ),
    "a tensor that overlaps itself": (
        torch_zip(of(b"d", text("fc1.weight"), tensor((4000, 4000), (0, 0)))),
        "overlaps itself: 16,000,000 numbers out of the 4 of its storage; save tensor.contiguous",
    ),
    "16 layers out of one": (
        state_dict(linear_shapes(16, 512), 512 * 512),
        "expected at least 2 bytes for a weight, got 4,202,496 of them .* its tensors overlap",
    ),
    "8 million 16-bit floats": (
        torch_zip(
            of(b"d", text("fc1.weight"), tensor((2**23,), (1,), stored=storage("0", 2**23, "torch.BFloat16Storage"))),
            **{"data/0": bytes(2**24)},
        ),
        "fc1.weight: expected a matrix",
    ),
    "heads in an array": (
        v8_lstm_with_heads(array(of(b"t", number(1)), dtype("i8"), b"C\x08" + bytes(8))),
        "attention heads: expected a number that divides the width 8, got a ndarray",
    ),
}

HOSTILE = PICKLES | ZIPS | CONTENTS
"""What is refused, and in which words."""

WRITTEN: dict[str, tuple[bytes, str]] = {
    "20,000 claims": (
        checkpoint(*[part for i in range(20_000) for part in (text(f"k{i}"), number(i))]),
        '"k31": 31, "further claims": "and 19,968 more"',
    ),
    "a claim's key of 2 MB": (checkpoint(text("x" * 2_000_000), number(1)), '"x{59}…": 1'),
    "claims in claims": (checkpoint(text("a"), nested(32, 3)), '"a": .*"dict of 32"'),
    "a claim that steers the terminal": (
        checkpoint(text("v"), text("\x1b]0;OWNED\x07\x1b[2J")),
        r'"v": "\\\\x1b\]0;OWNED\\\\x07',
    ),
    "a symbol of 300 characters": (
        checkpoint(text("symbol"), text("A" * 300 + "-USD")),
        "the file's symbol is none: AAAA.*…;",
    ),
    "a symbol of 3 MB": (
        checkpoint(text("symbol"), text("Q" * 10**6 + "-" + "USDX" * 500_000)),
        "the file's symbol is",
    ),
}
"""What is imported, and what is said of it."""
