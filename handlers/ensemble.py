"""POST /predictions/ensemble: one generation, an A/B arm, or the weighted pool, as serving.yaml says."""

from collections.abc import Mapping, Sequence
from typing import Any

from handlers import torchserve


class EnsembleHandler:
    def initialize(self, context: torchserve.Context) -> None:
        self.service = torchserve.load_service(context, "ensemble")

    def handle(self, rows: Sequence[Mapping[str, Any]], context: torchserve.Context) -> list[bytes]:
        replies = self.service.answer(torchserve.read_rows(rows, context))
        return torchserve.write_replies(replies, context)
