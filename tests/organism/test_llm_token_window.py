"""The rolling window of tokens per minute."""

from hypothesis import given
from hypothesis import strategies as st

from organism.llm.token_window import WINDOW_S, TokenWindow


def test_what_fits_does_not_wait():
    window = TokenWindow(100)
    window.spend(60, now_s=0)
    assert window.wait_s(40, now_s=1) == 0


def test_what_does_not_fit_waits_until_enough_has_left_the_window():
    window = TokenWindow(100)
    window.spend(50, now_s=0)
    window.spend(50, now_s=10)
    assert window.wait_s(30, now_s=20) == 40
    assert window.wait_s(80, now_s=20) == 50
    assert window.wait_s(30, now_s=60) == 0


def test_a_call_beyond_the_limit_waits_for_an_empty_window_only():
    window = TokenWindow(100)
    assert window.wait_s(500, now_s=0) == 0
    window.spend(500, now_s=0)
    assert window.wait_s(500, now_s=1) == 59


def test_a_correction_frees_what_was_estimated_too_high():
    window = TokenWindow(100)
    spending = window.spend(90, now_s=0)
    window.correct(spending, 20, now_s=5)
    assert window.wait_s(80, now_s=5) == 0


def test_a_correction_that_comes_after_the_window_changes_nothing():
    window = TokenWindow(100)
    old = window.spend(90, now_s=0)
    window.spend(10, now_s=70)
    window.correct(old, 1000, now_s=71)
    assert window.wait_s(90, now_s=71) == 0


def test_without_a_limit_nothing_waits_and_nothing_is_kept():
    window = TokenWindow(None)
    spending = window.spend(10**9, now_s=0)
    window.correct(spending, 1, now_s=0)
    assert window.wait_s(10**9, now_s=0) == 0


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 30)), max_size=40))
def test_who_waits_as_told_never_puts_more_than_the_limit_into_a_minute(calls):
    window, now_s, spent = TokenWindow(100), 0.0, []
    for tokens, pause_s in calls:
        now_s += pause_s
        while wait_s := window.wait_s(tokens, now_s):
            now_s += wait_s + 1e-9
        window.spend(tokens, now_s)
        spent.append((now_s, tokens))
        assert sum(each for at_s, each in spent if at_s > now_s - WINDOW_S) <= 100
