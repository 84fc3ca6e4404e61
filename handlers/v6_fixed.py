"""POST /predictions/v6_fixed: the V6-fixed model of the symbol."""

from collections.abc import Mapping, Sequence
from typing import Any

from handlers import torchserve


class V6FixedHandler:
    def initialize(self, context: torchserve.Context) -> None:
        self.service = torchserve.load_service(context, "v6_fixed")

    def handle(self, rows: Sequence[Mapping[str, Any]], context: torchserve.Context) -> list[bytes]:
        replies = self.service.answer(torchserve.read_rows(rows, context))
        return torchserve.write_replies(replies, context)
