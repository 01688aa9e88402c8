"""Rust: types and their impls, traits, macros, modules; attributes and comments belong to what follows."""

from librarian.chunker import chunk_file

SOURCE = """//! About the crate.
use std::fmt;

/// A thing.
/// Second line.
#[derive(Debug)]
pub struct Thing<T> { pub a: i32, b: T }
struct Unit;
impl<T: Clone> Thing<T> {
    /// New one.
    #[inline]
    pub fn new(a: i32) -> Self { todo!() }
    const K: i32 = 1;
}
impl<T> fmt::Display for Thing<T> where T: Clone {
    fn fmt(&self) -> R { }
}
impl<'a> From<&'a str> for crate::x::Other { }
pub trait Tr: Super {
    fn req(&self);
    fn dflt(&self) { }
    type Out;
}
pub enum E { A, B(i32), C { x: i32 } }
pub(crate) mod inner {
    pub async fn f() {}
}
mod elsewhere;
#[macro_export]
macro_rules! mac { ($x:expr) => { $x }; }
pub const LIMIT: usize = 3;
static NAME: &str = "";
type Alias<T> = Vec<T>;
extern "C" { fn c_fn(x: i32) -> i32; }
"""


def test_functions_types_and_impls_are_chunks():
    found = chunk_file("a.rs", SOURCE.encode(), 3.0).chunks
    assert [(each.chunk_type, each.qualified_name) for each in found if each.chunk_type not in ("module", "block")] == [
        ("class", "Thing"),
        ("class", "Unit"),
        ("class", "Thing"),
        ("method", "Thing.new"),
        ("class", "Thing"),
        ("method", "Thing.fmt"),
        ("class", "Other"),
        ("class", "Tr"),
        ("method", "Tr.dflt"),
        ("class", "E"),
        ("function", "inner.f"),
        ("function", "mac"),
    ]


def test_everything_with_a_name_is_a_symbol():
    found = {
        each.qualified_name: (each.kind, each.declaration) for each in chunk_file("a.rs", SOURCE.encode(), 3.0).symbols
    }
    expected = {
        "Thing.a": ("field", False),
        "Thing.K": ("constant", False),
        "Tr": ("trait", False),
        "Tr.req": ("method", True),
        "Tr.Out": ("type", False),
        "E.B": ("constant", False),
        "inner": ("namespace", False),
        "elsewhere": ("namespace", True),
        "mac": ("macro", False),
        "LIMIT": ("constant", False),
        "NAME": ("variable", False),
        "Alias": ("type", False),
        "c_fn": ("function", True),
    }
    assert {name: found.get(name) for name in expected} == expected


def test_comments_and_attributes_belong_to_what_follows():
    found = chunk_file("a.rs", SOURCE.encode(), 3.0).chunks
    thing = next(each for each in found if each.name == "Thing")
    assert (thing.start_line, thing.end_line) == (4, 7)
    assert (thing.signature, thing.docstring) == ("pub struct Thing<T>", "A thing.\nSecond line.")
    new = next(each for each in found if each.name == "new")
    assert (new.start_line, new.end_line) == (10, 12)
    assert (new.signature, new.docstring) == ("pub fn new(a: i32) -> Self", "New one.")
    shown = [each.signature for each in found if each.name == "Thing"][2]
    assert shown == "impl<T> fmt::Display for Thing<T> where T: Clone"
