"""The command line's frame: finding subcommands, exit codes, and one line for what goes wrong."""

import os
import subprocess
import sys
import types
from importlib.metadata import EntryPoint

import pytest

import signalserve
from signalserve.client import NoFreeWorker
from signalserve.commands import main as frame
from signalserve.commands.main import GROUP, main
from signalserve.errors import ConfigError


@pytest.fixture
def install(monkeypatch):
    """install(name=run): subcommands that do `run`; install(name="a.module"): one whose module is that."""

    def install(**commands):
        points = []
        for name, run in commands.items():
            module = run if isinstance(run, str) else f"fake_{name}"
            if not isinstance(run, str):
                monkeypatch.setitem(sys.modules, module, fake_module(name, run))
            points.append(EntryPoint(name, module, GROUP))
        monkeypatch.setattr(frame, "entry_points", lambda group: points if group == GROUP else [])

    return install


def fake_module(name, run):
    module = types.ModuleType(f"fake_{name}")

    def add_parser(subparsers):
        parser = subparsers.add_parser(name, help=f"does {name}")
        parser.add_argument("--times", type=int, default=1)
        parser.set_defaults(run=run)

    module.add_parser = add_parser
    return module


def fails(error):
    def run(args):
        raise error

    return run


def test_a_subcommand_gets_its_arguments_and_gives_the_exit_code(install):
    install(count=lambda args: args.times, other=lambda args: 9)
    assert main(["count", "--times", "7"]) == 7


def test_help_lists_what_is_installed(install, capsys):
    install(count=lambda args: 0, other=lambda args: 0)
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "does count" in shown
    assert "does other" in shown


def test_the_version_is_told(install, capsys):
    install()
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert (left.value.code, capsys.readouterr().out) == (0, f"signalserve {signalserve.__version__}\n")


def missing(name):
    return ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("serving.yaml:3: mode:\n  not one"), 2, "serving.yaml:3: mode: not one"),
        (NoFreeWorker("TorchServe: no worker", status=503), 1, "TorchServe: no worker"),
        (missing("rich.table"), 2, "rich.table is not installed here: pip install 'signalserve[cli]'"),
        (missing("torch"), 2, "torch is not installed here: pip install 'signalserve[cpu]'"),
    ],
)
def test_what_is_expected_to_go_wrong_is_one_line(install, capsys, error, code, line):
    install(bad=fails(error))
    assert main(["bad"]) == code
    assert capsys.readouterr() == ("", f"signalserve: {line}\n")


def test_ctrl_c_is_130_and_said(install, capsys):
    install(bad=fails(KeyboardInterrupt()))
    assert main(["bad"]) == 130
    assert capsys.readouterr() == ("", "signalserve: interrupted\n")


@pytest.mark.parametrize("error", [RuntimeError("a defect"), missing("signalserve.nothing")])
def test_a_defect_keeps_its_trace(install, error):
    install(bad=fails(error))
    with pytest.raises(type(error)):
        main(["bad"])


def test_a_command_that_can_not_be_imported_leaves_the_others_alone(install, capsys):
    install(count=lambda args: 5, broken="module_of_nowhere")
    assert main(["count"]) == 5
    assert main([]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "not available: module_of_nowhere is not installed here: pip install 'signalserve[cpu]'" in shown
    assert main(["broken", "--any", "thing"]) == 2
    assert capsys.readouterr().err.startswith("signalserve: broken: module_of_nowhere is not installed here: pip")


@pytest.mark.parametrize("got_far", [False, True])
def test_nor_does_one_that_imports_what_is_missing_for_its_options(install, capsys, got_far):
    def add_parser(subparsers):
        if got_far:
            subparsers.add_parser("late")
        raise missing("safetensors")

    install(count=lambda args: 5, late=lambda args: 0)
    sys.modules["fake_late"].add_parser = add_parser
    assert main([]) == 0
    assert "does count" in capsys.readouterr().out
    assert main(["late"]) == 2
    assert "late: safetensors is not installed here" in capsys.readouterr().err


def test_an_unknown_command_is_told_what_there_is(install, capsys):
    install(count=lambda args: 0)
    with pytest.raises(SystemExit) as left:
        main(["cuont"])
    assert left.value.code == 2
    assert "invalid choice: 'cuont'" in capsys.readouterr().err


def test_a_reader_that_went_away_is_no_error():
    code = """
import sys
from signalserve.commands import main as frame
frame._run = lambda arguments: print("x" * 10**6) or 0
sys.exit(frame.main([]))
"""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_the_frame_and_predict_import_nothing_heavy():
    heavy = ["numpy", "httpx", "pydantic", "rich", "torch", "yaml"]
    code = (
        "import sys, signalserve.commands.main, signalserve.commands.predict; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
