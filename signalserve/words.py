"""Values in error messages: short, and printable whatever came."""

from collections.abc import Sequence


def is_number(value: object) -> bool:
    return type(value) in (int, float)  # bool is an int to isinstance


def kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def shown(value: object) -> str:
    """A value in an error: short, and printable whatever came."""
    if value is None or isinstance(value, dict | list):
        return kind(value)
    try:
        text = ascii(value) if isinstance(value, str) else str(value)
    except ValueError:  # an integer of more than 4,300 digits, which Python refuses to write
        return "a number too long to write"
    return text if len(text) <= 60 else text[:57] + "…"


def listed(names: Sequence[str]) -> str:
    first = ", ".join(ascii(name)[1:-1][:40] for name in names[:5])
    return first if len(names) <= 5 else f"{first} and {len(names) - 5} more"
