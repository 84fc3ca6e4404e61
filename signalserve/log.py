"""Log lines as JSON on stderr: one object a line, with the request's id and never its payload."""

import json
import logging
import sys
import time

LOGGER = logging.getLogger("signalserve")
LOGGER.addHandler(logging.NullHandler())  # silent until a process asks for log lines


class JsonFormatter(logging.Formatter):
    """{"time": …, "level": …, "event": …} and whatever the call gave as extra={"fields": {...}}."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send this package's log lines to stderr. Called once by a process's entry, never at import."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(level)
    LOGGER.propagate = False


def event(level: int, name: str, **fields: object) -> None:
    LOGGER.log(level, name, extra={"fields": fields})
