"""The text of serving.yaml with other values in it; every other character stays where it is.

The file is cut at the places where YAML's parser says that a value begins and ends, and put together again: comments,
order, quotes, flow style and indentation stay because nobody writes them anew. A round trip through a YAML writer
moves what its own style says otherwise, and loses comments inside `{…}`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from signalserve.errors import ConfigError

Scalar = str | float | bool
KeyPath = tuple[str, ...]
"""Where a value stands: the keys that lead to it, such as ("symbols", "BTC-USD", "mode")."""

_STEP = "  "  # what serving.yaml indents a new section by
_COMMENT = re.compile(r"([^#\"'\n]*?)( +)#")  # what follows a value up to its line's comment; quotes may hide a #


def edit(text: str, values: Mapping[KeyPath, Scalar]) -> str:
    """The text with these values at their places; keys that are missing are added, none is removed.

    text: valid YAML, a mapping.  Raises ConfigError where a place cannot be changed without changing another.
    """
    for place, value in values.items():
        text = _put(text, place, value)
    return text


def _put(text: str, place: KeyPath, value: Scalar) -> str:
    content = yaml.safe_load(text)
    if _found(content, place) == value:
        return text
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert node is not None  # the file is a mapping
    depth = 0
    while depth < len(place) and isinstance(node, yaml.MappingNode):
        child = next((child for key, child in node.value if key.value == place[depth]), None)
        if child is None:
            break
        node, depth = child, depth + 1
    rest = place[depth:]
    if isinstance(node, yaml.MappingNode):
        new = _add(text, node, rest, value)
    else:  # a value to be replaced, or the null of a section that is there by name only
        new = _replace(text, node, _flow(rest, value) if rest else _scalar(value, getattr(node, "style", None)))
    if _loaded(new) != _with(content, place, value):  # an anchor, for one: its value stands in several places
        raise ConfigError(
            f"{'.'.join(place)}: expected a place of its own in the file, got one that can't be changed to "
            f"{value!r} alone, such as an anchor's; edit the file by hand"
        )
    return new


# ---- cutting the text


def _replace(text: str, node: yaml.Node, value: str) -> str:
    start = node.start_mark.index
    end = max(start, len(text[: node.end_mark.index].rstrip()))  # the mark of a text in lines stands behind them
    if start == end:  # nothing stands there: `experiment:`
        value = f" {value}"
    return _splice(text, start, end, value)


def _add(text: str, node: yaml.MappingNode, place: KeyPath, value: Scalar) -> str:
    if node.flow_style:
        if not node.value:
            return _splice(text, node.start_mark.index + 1, node.start_mark.index + 1, _pair(place, value))
        end = _end(text, node)
        return _splice(text, end, end, f", {_pair(place, value)}")
    indent = " " * node.value[0][0].start_mark.column
    line_end = text.find("\n", _end(text, node))
    head, tail = (text, "") if line_end < 0 else (text[:line_end], text[line_end + 1 :])
    if indent or len(place) == 1:
        return f"{head}\n{indent}{_pair(place, value)}\n{tail}"
    return f"{head}\n{_scalar(place[0])}:\n{_STEP}{_pair(place[1:], value)}\n{tail}"


def _end(text: str, node: yaml.Node) -> int:
    """Where the last value of a mapping ends; a block's own mark stands at whatever follows it."""
    while isinstance(node, yaml.CollectionNode) and node.value:
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
        if isinstance(node, yaml.CollectionNode) and node.flow_style:
            break
    return len(text[: node.end_mark.index].rstrip())


def _splice(text: str, start: int, end: int, new: str) -> str:
    """Put new at start:end; the comment behind it stays in its column while there is room for a space before it."""
    rest = text[end:]
    comment = _COMMENT.match(rest)
    if comment is not None:
        between, gap = comment.groups()
        room = max(1, len(gap) - (len(new) - (end - start)))
        rest = f"{between}{' ' * room}{rest[comment.end(2) :]}"
    return f"{text[:start]}{new}{rest}"


# ---- writing values


def _pair(place: KeyPath, value: Scalar) -> str:
    return f"{_scalar(place[0])}: {_flow(place[1:], value)}"


def _flow(place: KeyPath, value: Scalar) -> str:
    return f"{{{_pair(place, value)}}}" if place else _scalar(value)


def _scalar(value: Scalar, style: str | None = None) -> str:
    """A value as YAML. style: of the node it replaces, whose quotes a word keeps."""
    quotes = style if isinstance(value, str) and style in ("'", '"') else None
    listed: str = yaml.safe_dump(
        [value], default_flow_style=True, default_style=quotes, allow_unicode=True, width=math.inf
    )
    return listed.strip()[1:-1]


# ---- what the text means


def _loaded(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _found(content: Any, place: Sequence[str]) -> Any:
    for key in place:
        content = content.get(key) if isinstance(content, dict) else None
    return content


def _with(content: Any, place: KeyPath, value: Scalar) -> Any:
    """A copy with the value at its place; what YAML shares between places is shared no more."""
    if not place:
        return value
    inner = content if isinstance(content, dict) else {}
    return {**inner, place[0]: _with(inner.get(place[0]), place[1:], value)}
