"""Claims on their way from a worker to the watcher, as JSON: both ends of it."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Final

import orjson

from signalserve.outcome_request import OutcomeClaim

_FIELDS: Final = {field.name for field in fields(OutcomeClaim)}


def encode_claims(claims: Sequence[OutcomeClaim]) -> bytes:
    """The body of POST /outcomes, which `parse_claims` reads."""
    return orjson.dumps(list(claims))


def parse_claims(body: bytes) -> list[OutcomeClaim]:
    """Raises ValueError in words for what `encode_claims` did not write; the claims were checked before that."""
    content = orjson.loads(body)  # its JSONDecodeError is a ValueError
    if not isinstance(content, list) or not all(isinstance(one, dict) and set(one) == _FIELDS for one in content):
        raise ValueError(f"expected a list of objects with {', '.join(sorted(_FIELDS))}")
    return [OutcomeClaim(**one) for one in content]
