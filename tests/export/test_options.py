"""What the offline commands share on the command line."""

import argparse
from pathlib import Path

import pytest
from stores import write_model

from export.options import add_data, add_labels, labels_of, source_of
from signalserve.bundle import Labels, load_bundle
from signalserve.errors import ConfigError


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_data(parser)
    add_labels(parser)
    return parser.parse_args(["--bars", "bars", *words])


def test_a_folder_of_bars_or_of_features_is_asked_for():
    assert (source_of(parsed()).folder, source_of(parsed()).kind) == (Path("bars"), "bars")


def test_labels_come_from_the_manifest(tmp_path: Path):
    manifest = load_bundle(write_model(tmp_path)).manifest
    assert labels_of(parsed(), manifest) == manifest.labels == Labels(horizon_bars=15, neutral_band=1e-3)
    assert labels_of(parsed("--horizon", "15"), manifest) == manifest.labels


@pytest.mark.parametrize("words", [("--horizon", "1"), ("--band", "0.015"), ("--horizon", "0")])
def test_a_model_is_not_asked_for_other_labels_than_it_was_taught(tmp_path: Path, words: tuple[str, ...]):
    with pytest.raises(ConfigError, match=r"was taught 15 bars ahead with a band of 0.001, got"):
        labels_of(parsed(*words), load_bundle(write_model(tmp_path)).manifest)


def test_labels_that_nobody_knows_must_be_given_whole(tmp_path: Path):
    manifest = load_bundle(write_model(tmp_path, labels=None)).manifest
    with pytest.raises(ConfigError, match=r"pass --horizon BARS and --band SHARE"):
        labels_of(parsed("--horizon", "15"), manifest)
    assert labels_of(parsed("--horizon", "1", "--band", "0.015"), manifest).neutral_band == 0.015


@pytest.mark.parametrize("words", [("--horizon", "0", "--band", "0.1"), ("--horizon", "1", "--band", "-1")])
def test_labels_out_of_range_are_refused(tmp_path: Path, words: tuple[str, ...]):
    with pytest.raises(ConfigError, match=r"expected 1 bar or more and a share from 0 to 1"):
        labels_of(parsed(*words), load_bundle(write_model(tmp_path, labels=None)).manifest)
