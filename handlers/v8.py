"""POST /predictions/v8: the V8 model of the symbol."""

from collections.abc import Mapping, Sequence
from typing import Any

from handlers import torchserve


class V8Handler:
    def initialize(self, context: torchserve.Context) -> None:
        self.service = torchserve.load_service(context, "v8")

    def handle(self, rows: Sequence[Mapping[str, Any]], context: torchserve.Context) -> list[bytes]:
        replies = self.service.answer(torchserve.read_rows(rows, context))
        return torchserve.write_replies(replies, context)
