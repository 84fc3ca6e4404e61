"""Which folders are a service's."""

import pytest

from signalserve.environment import LAST_GOOD
from signalserve.errors import JournalError
from signalserve.journal import DATABASE, LATCHES, SPOOL
from signalserve.toggles.home import check_home, is_run_folder, names_in


@pytest.mark.parametrize(
    ("names", "run"),
    [([DATABASE], False), ([SPOOL], False), ([SPOOL, LATCHES], False), ([LATCHES], True), ([LAST_GOOD], True)],
)
def test_a_folder_is_known_by_what_lies_in_it(tmp_path, names, run):
    for name in names:
        (tmp_path / name).touch()
    check_home(tmp_path)
    assert is_run_folder(tmp_path) is run


def test_an_empty_folder_and_none_are_no_services(tmp_path):
    with pytest.raises(JournalError, match=rf"{tmp_path}: expected a folder with .* got one without them"):
        check_home(tmp_path)
    with pytest.raises(JournalError, match="got none: name the service's journal with --journal"):
        check_home(tmp_path / "nowhere")
    assert not is_run_folder(tmp_path / "nowhere")


def test_a_file_is_not_taken_for_an_empty_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="file: Not a directory; name the service's journal with --journal"):
        names_in(tmp_path / "file")
