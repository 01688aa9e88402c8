"""JavaScript: functions however they get their name, and modules of every fashion."""

import pytest

from librarian.chunker import chunk_file
from librarian.chunks import ChunkedFile

CLASSES = """class Store extends Base {
  #hidden = 1;
  static count = 0;
  handle = (event) => { this.event = event }
  /** How many. */
  get size() { return 1 }
  set size(value) { this.value = value }
  static async *all() { yield 1 }
  #secret() { return 2 }
  ['computed']() { return 3 }
  [Symbol.iterator]() { return 4 }
  'quoted name'() { return 5 }
  constructor(a) { super(a) }
}

@tag
class Decorated {
  @bound
  run() { return 1 }
}
var Klass = class Named { go() { return 1 } }
"""

FUNCTIONS = """/** Adds. */
export const add = (a, b) => a + b;

const later = async () => {
  return 1
}, twice = function named(a) { return 2 * a };

/**
 * Waits.
 * @param {number} ms
 */
export async function* ticks(ms) { yield ms }

function outer() {
  function inner() { return 1 }
  return inner
}

const memo = useMemo(() => {
  return 1
}, [])

if (old) { function either() {} } else { function or() {} }
"""

OBJECTS = """const routes = {
  get(path) { return path },
  post: function (path) { return path },
  put: (path) => path,
  nested: { deep() { return 1 } },
  get total() { return 1 },
  limit: 1,
  ...others,
  shorthand,
};
"""


def cut(source: str, path: str = "src/store.js") -> ChunkedFile:
    found = chunk_file(path, source.encode(), 10.0)
    assert found.problem is None
    return found


def named(source: str, path: str = "src/store.js") -> list[tuple[str, str]]:
    return [
        (each.chunk_type, each.qualified_name)
        for each in cut(source, path).chunks
        if each.chunk_type not in ("module", "block")
    ]


def test_methods_of_classes_private_computed_and_namesakes():
    assert named(CLASSES) == [
        ("class", "Store"),
        ("method", "Store.handle"),
        ("method", "Store.size"),
        ("method", "Store.size"),
        ("method", "Store.all"),
        ("method", "Store.#secret"),
        ("method", "Store.computed"),
        ("method", "Store.[Symbol.iterator]"),
        ("method", "Store.quoted name"),
        ("method", "Store.constructor"),
        ("class", "Decorated"),
        ("method", "Decorated.run"),
        ("class", "Klass"),
        ("method", "Klass.go"),
    ]


def test_signatures_lines_and_docstrings_of_methods():
    found = {each.signature: each for each in cut(CLASSES).chunks}
    assert {"handle = (event) =>", "set size(value)", "static async *all()", "class Decorated", "run()"} <= set(found)
    size = found["get size()"]
    assert (size.docstring, size.start_line, size.end_line) == ("How many.", 5, 6)
    assert (found["class Decorated"].start_line, found["run()"].start_line) == (16, 18)


def test_fields_are_symbols_of_their_class():
    found = cut(CLASSES)
    rows = {(each.kind, each.qualified_name, found.chunks[each.chunk].name) for each in found.symbols}
    assert {("field", "Store.#hidden", "Store"), ("field", "Store.count", "Store")} <= rows


def test_functions_however_they_get_their_name():
    assert named(FUNCTIONS) == [
        ("function", "add"),
        ("function", "later"),
        ("function", "ticks"),
        ("function", "outer"),
        ("function", "memo"),
        ("function", "either"),
        ("function", "or"),
    ]
    found = {each.name: each for each in cut(FUNCTIONS).chunks}
    assert (found["add"].signature, found["add"].docstring) == ("const add = (a, b) =>", "Adds.")
    assert (found["ticks"].docstring, found["ticks"].start_line) == ("Waits.\n@param {number} ms", 8)
    assert found["outer"].signature == "function outer()"


def test_the_second_of_two_functions_in_one_statement_is_found_by_its_name():
    found = cut(FUNCTIONS)
    assert ("function", "twice", "later") in {(s.kind, s.name, found.chunks[s.chunk].name) for s in found.symbols}


def test_functions_in_objects_are_chunks_of_it():
    found = cut(OBJECTS)
    assert [(each.chunk_type, each.qualified_name) for each in found.chunks] == [
        ("block", "routes"),
        ("method", "routes.get"),
        ("function", "routes.post"),
        ("function", "routes.put"),
        ("method", "routes.nested.deep"),
        ("method", "routes.total"),
    ]
    assert found.chunks[0].signature == "const routes"
    assert ("constant", "routes.limit") in {(each.kind, each.qualified_name) for each in found.symbols}


def test_what_a_commonjs_module_exports():
    source = """module.exports = {
  parse(text) { return text },
  build: function () { return 1 },
};
exports.single = function () { return 1 };
module.exports.twice = (x) => 2 * x;
exports.a = exports.b = function () { return 1 };
exports.limit = 3;
"""
    assert named(source) == [
        ("method", "parse"),
        ("function", "build"),
        ("function", "single"),
        ("function", "twice"),
        ("function", "a"),
    ]
    assert ("field", "limit") in {(each.kind, each.name) for each in cut(source).symbols}


def test_methods_given_to_a_prototype_or_a_constructor():
    source = "Store.prototype.find = function (id) { return id };\nlib.Store.create = () => new Store();\n"
    assert named(source) == [("method", "Store.find"), ("method", "Store.create")]


@pytest.mark.parametrize(
    "frame",
    [
        "(function () {{\n{0}\n}})();",
        "(function () {{\n{0}\n}}());",
        ";(async () => {{\n{0}\n}})();",
        "!function () {{\n{0}\n}}();",
        "(function (root, factory) {{ root.Lib = factory() }}(this, function () {{\n{0}\n}}));",
        "(function (root, factory) {{ root.Lib = factory() }})(this, function () {{\n{0}\n}});",
        "define(['a'], function (a) {{\n{0}\n}});",
        "define('name', ['a'], (a) => {{\n{0}\n}});",
        "require(['a'], function (a) {{\n{0}\n}});",
        "module.exports = (function () {{\n{0}\n}})();",
    ],
)
def test_modules_in_functions_hide_nothing(frame: str):
    source = frame.format("function hidden() { return 1 }\nclass Inside { run() { return 1 } }")
    assert named(source) == [("function", "hidden"), ("class", "Inside"), ("method", "Inside.run")]


def test_a_module_that_is_the_value_of_a_name():
    source = "var Lib = (function ($) {\n  var count = 1;\n  function open() {}\n  return { open };\n})(jQuery);\n"
    assert named(source) == [("function", "Lib.open")]
    assert [each.name for each in cut(source).chunks] == ["Lib", "open"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("export default function () { return 1 }\n", [("function", "index")]),
        ("export default (a) => {\n  return a\n}\n", [("function", "index")]),
        ("export default class {\n  run() { return 1 }\n}\n", [("class", "index"), ("method", "run")]),
        ("export default connect(state => {\n  return state\n})\n", [("function", "index")]),
        ("export default connect(function Named(state) {\n  return state\n})\n", [("function", "Named")]),
        ("module.exports = function (a) {\n  return a\n}\n", [("function", "index")]),
        ("export default { data: () => ({}), setup() { return 1 } }\n", [("function", "data"), ("method", "setup")]),
    ],
)
def test_an_export_without_a_name_is_called_after_its_file(source: str, expected: list[tuple[str, str]]):
    assert named(source, "src/index.js") == expected


def test_handlers_handed_to_a_method_are_looked_into_and_tests_are_not():
    assert named("app.get('/x', (request) => {\n  function answer() { return 1 }\n})\n") == [("function", "answer")]
    assert named("describe('a', () => {\n  const helper = () => {\n    return 1\n  }\n})\n") == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("// Helpers of dates.\n// They never throw.\n\nimport a from 'a'\n", "Helpers of dates.\nThey never throw."),
        ("#!/usr/bin/env node\n/**\n * Starts it.\n */\n\nimport a from 'a'\n", "Starts it."),
        ("/*! (c) 2020 Nobody, MIT License */\n\n/* Draws lines. */\n\nimport a from 'a'\n", "Draws lines."),
        ("/*\n * Draws lines.\n *\n * Copyright 2020 Nobody\n */\n\nimport a from 'a'\n", "Draws lines."),
        ("/* eslint-disable no-new */\n// @ts-check\n\nimport a from 'a'\n", ""),
        ("import a from 'a'\n// Not at the top.\n\nimport b from 'b'\n", ""),
    ],
)
def test_the_module_says_what_its_first_comments_say_but_no_licence(source: str, expected: str):
    module = cut(source + "\nexport const add = (a, b) => a + b\n").chunks[0]
    assert (module.chunk_type, module.docstring) == ("module", expected)


def test_a_comment_before_a_definition_is_not_the_modules():
    found = cut("import a from 'a-long-name'\n\n// Adds.\nfunction add() {}\n").chunks
    assert [each.docstring for each in found] == ["", "Adds."]
