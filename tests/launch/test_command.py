"""The options of `signalserve serve`."""

import argparse

import pytest

from launch import command, serve
from launch.ports import Ports
from signalserve.watcher import command as watcher_command


def parse(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return parser.parse_args(["serve", *options])


def test_everything_is_kept_for_more_than_a_year_by_default():
    args = parse()
    assert (args.journal, args.keep_days, args.keep_gb) == (None, 400, 4)


def told_to_the_watcher(*options: str) -> argparse.Namespace:
    """What the watcher makes of the words that it is started with."""
    _, _, _, *words = serve._watcher(parse(*options), Ports(8080, "127.0.0.1"))
    parser = argparse.ArgumentParser()
    watcher_command.add_parser(parser.add_subparsers())
    return parser.parse_args(words)


def test_the_watcher_is_told_how_often_to_look_and_how_seldom_to_be_wrong():
    told = told_to_the_watcher("--days-between-false-alarms", "7", "--statistics-every", "0.5")
    assert (told.days_between_false_alarms, told.statistics_every) == (7, 0.5)


def test_left_out_the_watcher_does_as_it_does_by_itself():
    parser = argparse.ArgumentParser()
    watcher_command.add_parser(parser.add_subparsers())
    alone, told = parser.parse_args(["watcher"]), told_to_the_watcher()
    for name in ("days_between_false_alarms", "statistics_every", "keep_days", "keep_gb"):
        assert getattr(told, name) == getattr(alone, name)


@pytest.mark.parametrize("option", ["--keep-days", "--keep-gb", "--days-between-false-alarms", "--statistics-every"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_what_is_no_number_above_zero_is_refused_in_words(option: str, value: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        parse(f"{option}={value}")
    assert f"{option}: expected a number above 0, got '{value}'" in capsys.readouterr().err
