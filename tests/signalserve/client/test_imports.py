"""`pip install .` for a bot brings httpx, numpy and pydantic; the client must do with that."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import signalserve.client

ROOT = Path(__file__).resolve().parents[3]
CLIENT = Path(signalserve.client.__file__).parent
BOTS_OWN = {"httpx", "numpy", "pydantic"}
SERVICES_OWN = ["torch", "orjson", "yaml", "safetensors", "prometheus_client", "uuid_utils", "pyarrow", "onnxruntime"]


def test_the_package_declares_what_a_bot_needs_and_no_more():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {re.split(r"[^\w-]", requirement)[0] for requirement in project["dependencies"]} == BOTS_OWN


def test_importing_the_client_imports_nothing_of_the_service():
    # rich is not among them: httpx brings it along where it is installed, for a command line of its own
    code = f"import sys, signalserve.client; print([name for name in {SERVICES_OWN} if name in sys.modules])"
    assert run(code) == "[]"


def test_the_client_works_where_nothing_of_the_service_is_installed():
    code = f"""
import sys
sys.modules.update(dict.fromkeys({[*SERVICES_OWN, "rich"]}))  # None there makes an import fail
import httpx
from signalserve.client import EndpointNotFound, SignalClient
from signalserve.demo import demo_candles
with SignalClient(transport=httpx.MockTransport(lambda request: httpx.Response(404))) as client:
    try:
        client.predict("BTC-USD", candles=demo_candles("BTC-USD"))
    except EndpointNotFound:
        print("asked")
"""
    assert run(code) == "asked"


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_clients_modules_name_only_what_is_declared():
    for path in CLIENT.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            roots = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"signalserve"}
            assert roots <= BOTS_OWN, path
