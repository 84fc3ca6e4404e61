"""Every hostile file is refused in words, runs nothing, and costs neither time nor memory."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.export.checkpoints.hostile import HOSTILE, MARKER

SECONDS = 1.0
MEGABYTES = 200

JAIL = f"""
import json, os, resource, signal
from pathlib import Path
from export.checkpoints.torch_files import read_file
from signalserve.errors import CheckpointError

def size():
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

for path in sorted(Path("files").iterdir()):
    child = os.fork()
    if not child:
        # A breach ends the child: by a signal for the processor's time, by MemoryError for the address space.
        resource.setrlimit(resource.RLIMIT_AS, (size() + {MEGABYTES} * 2**20,) * 2)
        signal.setitimer(signal.ITIMER_PROF, {SECONDS})
        try:
            outcome = ["read", repr(read_file(path))[:200]]
        except BaseException as error:
            outcome = [type(error).__name__, str(error)]
        Path("outcomes", path.name).write_text(json.dumps(outcome))
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def jail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which each hostile file was read by a process of its own: what came of it is in outcomes/."""
    folder = tmp_path_factory.mktemp("jail")
    (folder / "files").mkdir()
    (folder / "outcomes").mkdir()
    for number, (data, _) in enumerate(HOSTILE.values()):
        (folder / "files" / str(number)).write_bytes(data)
    subprocess.run([sys.executable, "-c", JAIL], cwd=folder, check=True, timeout=120)
    return folder


@pytest.mark.parametrize("case", HOSTILE)
def test_it_is_refused_in_words_within_a_second_and_200_megabytes(case: str, jail: Path) -> None:
    outcome = jail / "outcomes" / str(list(HOSTILE).index(case))
    assert outcome.exists(), f"ended by a signal: it took more than {SECONDS} s of the processor"
    kind, words = json.loads(outcome.read_text())
    assert kind == "CheckpointError", words
    assert re.search(HOSTILE[case][1], words), words


def test_nothing_ran(jail: Path) -> None:
    assert sorted(path.name for path in jail.iterdir()) == ["files", "outcomes"]


def test_the_marker_would_have_shown_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(HOSTILE["reduce of os.system"][0])
    load = "import pickle; pickle.load(open('file', 'rb'))"
    subprocess.run([sys.executable, "-c", load], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / MARKER).exists()
