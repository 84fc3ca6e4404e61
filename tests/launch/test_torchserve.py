"""TorchServe's command line and its properties file."""

import argparse
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from launch.ports import Ports
from launch.torchserve import command, environment, java, read_properties, write_properties
from signalserve.errors import ConfigError

CONFIG = Path(__file__).resolve().parents[2] / "config.properties"


def properties_of(tmp_path: Path, text: str) -> dict[str, str]:
    (tmp_path / "config.properties").write_text(text)
    return read_properties(tmp_path / "config.properties")


def test_keys_values_comments_and_continued_lines_are_read(tmp_path: Path):
    text = (
        '# a comment\n\n key = value \nurl=http://h:1/?a=b\n#no=1\nmodels={\\\n  "a": 1,\\\n  "b": 2}\nempty=\nword\n'
    )
    assert properties_of(tmp_path, text) == {
        "key": "value",
        "url": "http://h:1/?a=b",
        "models": '{  "a": 1,  "b": 2}',
        "empty": "",
    }


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"config\.properties: No such file or directory"):
        read_properties(tmp_path / "config.properties")


texts = st.text(alphabet=st.characters(codec="ascii", exclude_characters="\\\r\n\x0b\x0c\x1c\x1d\x1e"), max_size=20)
keys = st.from_regex(r"[a-z][a-z_.]*", fullmatch=True)


@hypothesis_settings(deadline=None)
@given(st.dictionaries(keys, texts.map(str.strip)))
def test_what_is_written_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, properties: dict[str, str]):
    path = tmp_path_factory.getbasetemp() / "round-trip.properties"
    write_properties(path, properties)
    assert read_properties(path) == properties


def test_the_repositorys_file_serves_the_three_endpoints_from_their_archives():
    models = json.loads(read_properties(CONFIG)["models"])
    archives = {name: versions["1.0"]["marName"] for name, versions in models.items()}
    assert archives == {name: f"{name}.mar" for name in ("v6_fixed", "v8", "ensemble")}
    assert all(versions["1.0"]["batchSize"] == 1 for versions in models.values())


def test_the_repositorys_file_listens_where_ports_says_by_default():
    properties = read_properties(CONFIG)
    assert {key: properties[key] for key in Ports(8080).properties()} == Ports(8080).properties()


def test_the_repositorys_file_takes_a_full_request_and_hands_over_bytes():
    properties = read_properties(CONFIG)
    assert int(properties["max_request_size"]) > 5_500_000  # 64 windows as JSON
    assert properties["decode_input_request"] == "false"
    assert properties["enable_model_api"] == "false"


def test_the_command_starts_java_with_our_files(tmp_path: Path):
    words = command(tmp_path, tmp_path / "config.properties", tmp_path / "store", "-Xms1m -Xmx2m")
    assert Path(words[0]).name == "java"
    assert words.index("-Xmx2m") < words.index("org.pytorch.serve.ModelServer")
    assert words[words.index("-f") + 1] == str(tmp_path / "config.properties")
    assert words[words.index("-s") + 1] == str(tmp_path / "store")
    assert f"-Djava.io.tmpdir={tmp_path}" in words


def test_java_comes_from_its_package_whatever_java_home_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert java().exists() and tmp_path not in java().parents


def test_the_processes_find_each_other_by_their_environment(tmp_path: Path):
    args = argparse.Namespace(settings=Path("serving.yaml"), engine="torch", device="cpu")
    own = {"journal": tmp_path / "journal", "watcher_url": "http://127.0.0.1:8083"}
    variables = environment(tmp_path, args, "s3cret", {"HOME": "/root", "TMPDIR": "/tmp"}, **own)
    assert variables["HOME"] == "/root"
    assert variables["TMPDIR"] == str(tmp_path)
    assert variables["SIGNALSERVE_SETTINGS"] == str(Path("serving.yaml").resolve())
    assert variables["SIGNALSERVE_PROBE_SECRET"] == "s3cret"
    assert Path(variables["PROMETHEUS_MULTIPROC_DIR"]).parent == tmp_path
    assert (variables["SIGNALSERVE_ENGINE"], variables["SIGNALSERVE_DEVICE"]) == ("torch", "cpu")
    assert variables["OMP_NUM_THREADS"] == "1"
    assert variables["SIGNALSERVE_JOURNAL"] == str(tmp_path / "journal")
    assert variables["SIGNALSERVE_WATCHER"] == "http://127.0.0.1:8083"


def test_a_journal_of_the_shells_environment_is_not_written_where_none_is_wanted(tmp_path: Path):
    args = argparse.Namespace(settings=Path("serving.yaml"), engine="torch", device="cpu")
    own = {"journal": None, "watcher_url": "http://127.0.0.1:8083"}
    assert "SIGNALSERVE_JOURNAL" not in environment(tmp_path, args, "s3cret", {"SIGNALSERVE_JOURNAL": "/else"}, **own)
