"""When a cell is started again, and when that is given up."""

from __future__ import annotations

from organism.config import Supervision
from organism.supervisor import Restarts

POLICY = Supervision(max_restarts=4, restart_window_s=60, restart_delay_s=1, max_restart_delay_s=5)


def test_delays_double_up_to_their_maximum():
    restarts = Restarts(POLICY)
    assert [restarts.next_delay_s(now_s) for now_s in (0, 1, 2, 3)] == [1, 2, 4, 5]


def test_more_deaths_than_restarts_allowed_within_the_window_are_too_many():
    restarts = Restarts(POLICY)
    delays = [restarts.next_delay_s(now_s) for now_s in range(5)]
    assert None not in delays[:4]
    assert delays[4] is None


def test_deaths_before_the_window_do_not_count():
    restarts = Restarts(POLICY)
    assert [restarts.next_delay_s(60.0 * turn) for turn in range(10)] == [1] * 10


def test_forgiven_deaths_do_not_count():
    restarts = Restarts(POLICY)
    for now_s in range(5):
        restarts.next_delay_s(now_s)
    restarts.forgive()
    assert restarts.next_delay_s(6) == 1


def test_without_restarts_the_first_death_is_the_last():
    assert Restarts(Supervision(max_restarts=0)).next_delay_s(0) is None


def test_a_changed_policy_counts_earlier_deaths():
    restarts = Restarts(POLICY)
    restarts.next_delay_s(0)
    restarts.obey(Supervision(max_restarts=1))
    assert restarts.next_delay_s(1) is None
