"""Claims between worker and watcher: what one end writes, the other reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalserve.outcome_request import OutcomeClaim
from signalserve.watcher.outcomes import encode_claims, parse_claims

CLAIMS = st.builds(
    OutcomeClaim,
    st.none() | st.text(),
    st.none() | st.text(),
    st.none() | st.integers(0, 2**53),
    st.none() | st.integers(0, 2),
    st.none() | st.floats(0, allow_infinity=False),
)


@given(st.lists(CLAIMS))
def test_claims_arrive_as_they_were_sent(claims):
    assert parse_claims(encode_claims(claims)) == claims


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"[{}]", b'[{"prediction_id": "p1"}]', b"\xff"])
def test_what_no_worker_sent_is_refused(body):
    with pytest.raises(ValueError, match=r"expected a list of objects|unexpected|empty|UTF-8"):
        parse_claims(body)
