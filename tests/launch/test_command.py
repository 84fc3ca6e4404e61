"""The options of `signalserve serve`."""

import argparse

import pytest

from launch import command


def parse(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return parser.parse_args(["serve", *options])


def test_everything_is_kept_for_more_than_a_year_by_default():
    args = parse()
    assert (args.journal, args.keep_days, args.keep_gb) == (None, 400, 4)


@pytest.mark.parametrize("option", ["--keep-days", "--keep-gb"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_what_would_keep_nothing_or_all_is_refused_in_words(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        parse(f"{option}={value}")
    assert f"{option}: expected a number above 0, got '{value}'" in capsys.readouterr().err
