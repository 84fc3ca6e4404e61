"""Every hostile file is refused in words or imported as what it is, runs nothing, costs neither time nor memory."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.export.checkpoints.hostile import HOSTILE, MARKER, WRITTEN, checkpoint

SECONDS = 1.0
MEGABYTES = 200
FILES = HOSTILE | WRITTEN

JAIL = f"""
import json, os, resource, signal
from pathlib import Path
import torch
from export.checkpoints.importing import import_checkpoint, write_imported

torch.set_num_threads(1)

def size():
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

def outcome_of(path):
    imported = import_checkpoint(path)
    write_imported(imported, Path("bundles"), command="")
    return ["written", "; ".join([*imported.assumed, json.dumps(dict(imported.claims), ensure_ascii=False)])]

outcome_of(Path("files/sound_BTC.pt"))  # what torch does once and for all is no file's fault
for path in sorted(Path("files").glob("[0-9]*")):
    child = os.fork()
    if not child:
        # A breach ends the child: by a signal for the processor's time, by MemoryError for the address space.
        resource.setrlimit(resource.RLIMIT_AS, (size() + {MEGABYTES} * 2**20,) * 2)
        signal.setitimer(signal.ITIMER_PROF, {SECONDS})
        try:
            outcome = outcome_of(path)
        except BaseException as error:
            outcome = [type(error).__name__, str(error)]
        Path("outcomes", path.stem.partition("_")[0]).write_text(json.dumps(outcome))
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def jail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which each file was imported by a process of its own: what came of it is in outcomes/."""
    folder = tmp_path_factory.mktemp("jail")
    for name in ("files", "outcomes", "bundles"):
        (folder / name).mkdir()
    for number, (data, _) in enumerate(FILES.values()):
        (folder / "files" / f"{number}_BTC.pt").write_bytes(data)
    (folder / "files" / "sound_BTC.pt").write_bytes(checkpoint())
    subprocess.run([sys.executable, "-c", JAIL], cwd=folder, check=True, timeout=120)
    return folder


@pytest.mark.parametrize("case", FILES)
def test_it_ends_in_words_within_a_second_and_200_megabytes(case: str, jail: Path) -> None:
    outcome = jail / "outcomes" / str(list(FILES).index(case))
    assert outcome.exists(), f"ended by a signal: it took more than {SECONDS} s of the processor"
    kind, words = json.loads(outcome.read_text())
    assert kind == ("CheckpointError" if case in HOSTILE else "written"), words
    assert re.search(FILES[case][1], words), words
    assert words.isprintable() and len(words) < 4000


def test_nothing_ran(jail: Path) -> None:
    assert sorted(path.name for path in jail.iterdir()) == ["bundles", "files", "outcomes"]


def test_the_marker_would_have_shown_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(HOSTILE["reduce of os.system"][0])
    load = "import pickle; pickle.load(open('file', 'rb'))"
    subprocess.run([sys.executable, "-c", load], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / MARKER).exists()
