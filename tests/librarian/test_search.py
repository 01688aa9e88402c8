from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from librarian.ranking import Weights
from librarian.relevance import ANSWERABLE
from librarian.search import Hit, SearchOutcome, merged
from librarian.values import Filters
from tests.librarian.searchable import Meanings, found, searcher_of

SHOP = {
    "shop/basket.py": '''"""The basket of a customer."""


class Basket:
    """Collects articles until they are paid."""

    def add_article(self, article, count):
        """Puts articles into the basket."""
        self.articles.append((article, count))

    def total_price(self):
        """The sum of all prices, with taxes."""
        return sum(price * count for price, count in self.articles)
''',
    "shop/delivery.py": '''"""Brings parcels to customers."""


def plan_route(parcels):
    """Orders the stops of a lorry so that the way is short."""
    return sorted(parcels, key=lambda parcel: parcel.street)


def print_label(parcel):
    """The address label of a parcel."""
    return f"{parcel.name}, {parcel.street}"
''',
    "tests/test_basket.py": """from shop.basket import Basket


def test_total_price():
    basket = Basket()
    basket.add_article("pear", 2)
    assert basket.total_price() == 4
""",
    "web/basket_view.ts": """export function renderBasket(basket: Basket): string {
  // shows all articles of the basket
  return basket.articles.map((article) => article.name).join(", ");
}
""",
    "README.md": "# Shop\n\nA basket for articles, the total price with taxes, and delivery of parcels.\n",
}


@pytest.fixture(scope="module")
def shop():
    return searcher_of(SHOP)


@pytest.mark.parametrize(
    ("query", "path", "name"),
    [
        ("Basket", "shop/basket.py", "Basket"),
        ("basket", "shop/basket.py", "Basket"),
        ("total_price", "shop/basket.py", "Basket.total_price"),
        ("Basket.add_article", "shop/basket.py", "Basket.add_article"),
        ("how is the total price of all articles computed", "shop/basket.py", "Basket.total_price"),
        ("printing labels for parcels", "shop/delivery.py", "print_label"),
        ("what does renderBasket show", "web/basket_view.ts", "renderBasket"),
        ("planning the routes of lorries", "shop/delivery.py", "plan_route"),
    ],
)
def test_the_right_chunk_comes_first(shop, query, path, name):
    assert found(*shop, query)[0] == (path, name)


def test_a_test_comes_first_where_one_is_asked_for(shop):
    assert found(*shop, "test of the total price")[0][0] == "tests/test_basket.py"


def test_one_file_does_not_fill_the_first_places(shop):
    paths = [path for path, _ in found(*shop, "articles in the basket", max_chunks=3)]
    assert len(set(paths)) > 1


def test_copies_of_a_file_do_not_fill_the_first_places():
    page = "def open_gate():\n    return lift_barrier()\n"
    files = {f"region_{number}/gate.py": page for number in range(12)}
    searcher, tables = searcher_of({**files, "barrier.py": "def barrier_of_gate():\n    pass\n"})
    assert "barrier.py" in [path for path, _ in found(searcher, tables, "open the gate", max_chunks=3)]


@pytest.mark.parametrize(
    ("filters", "paths"),
    [
        (Filters(paths=("shop",)), {"shop/basket.py", "shop/delivery.py"}),
        (Filters(paths=("*.ts", "tests/**")), {"web/basket_view.ts", "tests/test_basket.py"}),
        (Filters(languages=("typescript",)), {"web/basket_view.ts"}),
        (Filters(languages=("markdown",), chunk_types=("section",)), {"README.md"}),
        (Filters(paths=("nowhere",)), set()),
    ],
)
def test_filters_choose_before_the_ranking(shop, filters, paths):
    hits = found(*shop, "basket articles parcels", filters=filters)
    assert {path for path, _ in hits} == paths


def test_only_chunks_of_the_filtered_type_are_found(shop):
    searcher, tables = shop
    types = tables.chunks["chunk_type"].to_pylist()
    hits = searcher.search("basket articles", 10, Filters(chunk_types=("method",))).hits
    assert {types[hit.chunk] for hit in hits} == {"method"}


def test_a_meaning_in_other_words_is_found_through_vectors():
    embedder = Meanings(("lorry", "truck"), ("pear",), ("parcels", "packages"))
    searcher, tables = searcher_of(SHOP, embedder)
    assert found(searcher, tables, "truck packages")[0][0] == "shop/delivery.py"


def test_scores_fall_and_stay_between_0_and_1(shop):
    searcher, _ = shop
    scores = [hit.score for hit in searcher.search("price of articles", 10).hits]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def test_scores_tell_an_answer_from_nonsense(shop):
    searcher, _ = shop
    assert searcher.search("Basket", 1).hits[0].score > 0.9
    assert searcher.search("how is the total price computed", 1).hits[0].score > ANSWERABLE
    nonsense = searcher.search("quantum chromodynamics of neutron stars", 1).hits
    assert not nonsense or nonsense[0].score < ANSWERABLE


def test_an_explained_hit_says_what_each_kind_of_evidence_gave(shop):
    searcher, _ = shop
    explain = searcher.search("test of Basket.total_price", 5, explain=True).hits[0].explain
    assert explain is not None
    assert {*Weights.__dataclass_fields__, "penalty", "kinds", "symbols", "rank_score"} == explain.keys()
    assert explain["symbols"] == ["Basket.total_price"]
    assert searcher.search("Basket", 5).hits[0].explain is None


def test_the_penalty_of_a_path_is_explained(shop):
    searcher, _ = shop
    hits = searcher.search("Basket", 10, Filters(paths=("tests",)), explain=True).hits
    assert {(hit.explain["penalty"], *hit.explain["kinds"]) for hit in hits} == {(0.3, "test")}


def test_examined_are_at_least_the_chunks_that_are_found(shop):
    searcher, tables = shop
    outcome = searcher.search("basket", 2)
    assert len(outcome.hits) == 2 <= outcome.examined <= tables.chunks.num_rows


def test_an_empty_library_finds_nothing():
    searcher, _ = searcher_of({})
    assert searcher.search("anything", 10) == SearchOutcome([], 0)


def test_threads_may_share_a_searcher(shop):
    queries = ["Basket", "total price", "labels of parcels", "renderBasket"] * 10
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda query: found(*shop, query), queries))
    assert together == [found(*shop, query) for query in queries]


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=80))
def test_any_query_can_be_asked(shop, query):
    searcher, _ = shop
    hits = searcher.search(query, 10).hits
    assert len({hit.chunk for hit in hits}) == len(hits) <= 10


def test_hits_of_several_libraries_are_merged_by_score():
    outcomes = [SearchOutcome([Hit(1, 0.9), Hit(2, 0.3)], 9), SearchOutcome([Hit(7, 0.5), Hit(8, 0.3)], 9)]
    assert [(library, hit.chunk) for library, hit in merged(outcomes, 3)] == [(0, 1), (1, 7), (0, 2)]
