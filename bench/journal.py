"""A journal of a million rows: what taking them in takes, how large they are, how long each question to it takes, and
what the watcher needs to keep it.

    python bench/journal.py [--model-store model_store] [--rows 1000000] [--seconds 60] [--json FILE] [--quick]

The rows are generated, one window per symbol and minute with all three arms, and go the way of real ones: spool lines,
drained by JournalStore, outcomes joined from bars. Then the whole service is started on that journal, and a writer adds
predictions to its spool while its watcher is watched.
"""

import argparse
import itertools
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil
from history import MINUTE_MS, History
from machine import Machine
from memory import MB
from programs import ProgramError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from servers import Signalserve
from subject import write_settings

from signalserve.bundle import load_bundle, newest_bundles
from signalserve.commands.journal_stats import read_stats
from signalserve.errors import OperatorError
from signalserve.journal import database_of, outcomes, reading, spool_of
from signalserve.journal.counts import read_counts
from signalserve.journal.lines import ClosesLine
from signalserve.journal.spool import SpoolWriter
from signalserve.journal.store import JournalStore
from signalserve.outcome_request import OutcomeClaim
from signalserve.watcher.quality_metrics import LiveQuality

MOST_MB: Final = 300.0
MOST_CORE: Final = 0.05

PER_SECOND: Final = 10
SCRAPE_S: Final = 5.0
"""Between two looks at /metrics, as Prometheus would take them."""

DAY: Final = 1440  # minutes
ARMS: Final = 3
SPARE: Final = 60 * DAY // 60
"""Minutes beyond the rows that are taken in, for what is added afterwards."""

LEAST_TIMES, LONG_ENOUGH_S = 3, 1.0
"""A question is asked at least so often, and for so long."""
