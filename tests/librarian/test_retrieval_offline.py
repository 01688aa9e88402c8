import json
import math

import pytest

from benchmarks.retrieval_offline import Measured, Question, ablations, mean, read_repository
from librarian.ranking import Weights
from tests.librarian.searchable import Meanings
from tests.librarian.small_repository import commit

GATE = "class Gate:\n    pass\n\n\ndef open_gate(gate):\n    return gate\n"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    commit(folder / "farm", {"gate.py": GATE, "barn.py": "class Barn:\n    pass\n"})
    (folder / "farm.json").write_text(
        json.dumps(
            [
                {"query": "Barn", "relevant": ["barn.py"], "secondary": [], "category": "symbol"},
                {
                    "query": "Gate",
                    "relevant": [{"path": "gate.py", "start_line": 1, "end_line": 2}],
                    "category": "symbol",
                },
            ]
        )
    )
    return read_repository(folder / "farm", folder / "farm.json", Meanings())


def test_a_perfect_search_scores_1(repository):
    assert mean([Measured(repository, Meanings(), Weights())]) == 1.0


def test_a_target_counts_once_at_the_rank_of_its_first_hit(repository):
    measured = Measured(repository, Meanings(), Weights())
    rows = {
        name: row
        for row, name in enumerate(repository.tables.chunks["name"].to_pylist())
        if name in ("Barn", "open_gate")
    }
    gate_twice = Question("", "", ["gate.py", "barn.py"])
    ranks = [rows["open_gate"], rows["open_gate"], rows["Barn"]]
    assert measured.ndcg(gate_twice, ranks) == pytest.approx((1 + 1 / 2) / (1 + 1 / math.log2(3)))
    assert measured.ndcg(Question("", "", [{"path": "gate.py", "start_line": 1, "end_line": 2}]), ranks) == 0


def test_each_ingredient_is_measured(repository):
    rows = dict(ablations([repository], Meanings()))
    assert len(rows) > 10
    assert all(0 <= score <= 1 for score in rows.values())
