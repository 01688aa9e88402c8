"""TypeScript: types of every kind, overloads, ambient declarations, components."""

from librarian.chunker import chunk_file
from librarian.chunks import ChunkedFile

TYPES = """/** Types of orders. */
import type { Base } from './base'

/** An order. */
export interface Order<T> extends Base {
  id: string
  readonly total: number
  cancel(reason: string): Promise<void>
  onDone?: () => void
  [key: string]: unknown
}

export enum Color { Red = 1, Green, 'Blue' }
export type Id = string | number
type Shape =
  | { kind: 'circle' }
  | { kind: 'square' }
  | { kind: 'line' }
  | { kind: 'point' }

export namespace Outer.Inner {
  export function helper(): void {}
  export const limit = 3
}
declare module 'server' {
  interface Request { user: string }
}
declare global {
  interface Window { app: App }
}
declare function ambient(x: number): string
declare const VERSION: string
declare class Outside { method(): void }
"""

CLASSES = """export function parse(x: string): string
export function parse(x: number): number
/** Both. */
export function parse(x: any): any {
  return x
}

export abstract class Figure<T> implements A, B {
  private readonly name: string = 'x'
  protected abstract area(): number
  constructor(private readonly x: number, public y: string) {}
  get size(): number { return 1 }
  set size(value: number) { }
  over(a: string): void
  over(a: number): void
  over(a: any): void { }
  handler = async (event: Event): Promise<void> => { }
  static of<T>(x: T): Figure<T> { return x as any }
}

@Injectable({ scope: 'x' })
export class Service {
  @Input() value: string
  @HostListener('click', ['$event'])
  onClick(event: Event): void { }
}

export const settings = {
  limit: 1,
  run() { return 1 },
} as const satisfies Settings
const cast = <Handler>{ bar() { return 2 } }
const typed: Handler = async (request) => { return 1 }
export default abstract class Last {}
"""

COMPONENTS = """// @ts-nocheck
import React from 'react'

type Props = { a: string }

/** A button. */
export function Button({ a }: Props): JSX.Element {
  return <button onClick={() => 1}>{a}</button>
}
export const Card: React.FC<Props> = React.memo(({ a }) => {
  return <div>{a}</div>
})
export const Input = forwardRef<HTMLInputElement, Props>(function Input({ a }, ref) {
  return <input ref={ref} />
})
const useThing = () => {
  const [state] = useState(1)
  return state
}
export default () => <Button a="1" />
"""


def cut(source: str, path: str = "src/order.ts") -> ChunkedFile:
    found = chunk_file(path, source.encode(), 10.0)
    assert (found.language, found.problem) == ("typescript", None)
    return found


def named(source: str, path: str = "src/order.ts") -> list[tuple[str, str]]:
    return [
        (each.chunk_type, each.qualified_name)
        for each in cut(source, path).chunks
        if each.chunk_type not in ("module", "block")
    ]


def test_interfaces_enums_and_long_aliases_are_chunks():
    assert named(TYPES) == [
        ("class", "Order"),
        ("class", "Color"),
        ("class", "Shape"),
        ("function", "Outer.Inner.helper"),
        ("class", "server.Request"),
        ("class", "Window"),
        ("class", "Outside"),
    ]
    order = next(each for each in cut(TYPES).chunks if each.name == "Order")
    assert (order.signature, order.docstring) == ("interface Order<T> extends Base", "An order.")
    assert (order.start_line, order.end_line) == (4, 11)


def test_members_aliases_namespaces_and_ambient_names_are_symbols():
    rows = {(each.kind, each.qualified_name, each.declaration) for each in cut(TYPES).symbols}
    assert {
        ("interface", "Order", False),
        ("field", "Order.total", False),
        ("field", "Order.onDone", False),
        ("method", "Order.cancel", True),
        ("enum", "Color", False),
        ("constant", "Color.Red", False),
        ("constant", "Color.Green", False),
        ("constant", "Color.Blue", False),
        ("type", "Id", False),
        ("type", "Shape", False),
        ("namespace", "Outer.Inner", False),
        ("constant", "Outer.Inner.limit", False),
        ("namespace", "server", False),
        ("field", "Window.app", False),
        ("function", "ambient", True),
        ("variable", "VERSION", False),
        ("class", "Outside", False),
        ("method", "Outside.method", True),
    } <= rows


def test_overloads_belong_to_what_they_announce():
    found = cut(CLASSES)
    parse = found.chunks[0]
    assert (parse.name, parse.start_line, parse.end_line) == ("parse", 1, 6)
    assert (parse.signature, parse.docstring) == ("function parse(x: any): any", "Both.")
    assert sorted(each.declaration for each in found.symbols if each.name == "parse") == [False, True, True]
    over = next(each for each in found.chunks if each.name == "over")
    assert (over.start_line, over.end_line, over.signature) == (14, 16, "over(a: any): void")


def test_classes_their_members_and_objects_with_types():
    assert named(CLASSES)[1:] == [
        ("class", "Figure"),
        ("method", "Figure.constructor"),
        ("method", "Figure.size"),
        ("method", "Figure.size"),
        ("method", "Figure.over"),
        ("method", "Figure.handler"),
        ("method", "Figure.of"),
        ("class", "Service"),
        ("method", "Service.onClick"),
        ("method", "settings.run"),
        ("method", "cast.bar"),
        ("function", "typed"),
        ("class", "Last"),
    ]
    rows = {(each.kind, each.qualified_name, each.declaration) for each in cut(CLASSES).symbols}
    assert {
        ("field", "Figure.name", False),
        ("method", "Figure.area", True),
        ("field", "Service.value", False),
        ("constant", "settings.limit", False),
    } <= rows


def test_signatures_leave_decorators_out_and_lines_do_not():
    found = {each.qualified_name: each for each in cut(CLASSES).chunks}
    assert found["Figure"].signature == "abstract class Figure<T> implements A, B"
    assert found["Figure.handler"].signature == "handler = async (event: Event): Promise<void> =>"
    assert (found["Service"].signature, found["Service"].start_line) == ("class Service", 21)
    assert (found["Service.onClick"].signature, found["Service.onClick"].start_line) == (
        "onClick(event: Event): void",
        24,
    )


def test_components_however_they_are_made():
    assert named(COMPONENTS, "src/widgets.tsx") == [
        ("function", "Button"),
        ("function", "Card"),
        ("function", "Input"),
        ("function", "useThing"),
        ("function", "widgets"),
    ]
    found = {each.name: each for each in cut(COMPONENTS, "src/widgets.tsx").chunks}
    assert (found["Button"].signature, found["Button"].docstring) == (
        "function Button({ a }: Props): JSX.Element",
        "A button.",
    )
    assert (found["Card"].start_line, found["Card"].end_line) == (10, 12)


def test_the_module_says_what_its_first_comment_says():
    assert cut(TYPES).chunks[0].docstring == "Types of orders."
    assert cut(COMPONENTS, "src/widgets.tsx").chunks[0].docstring == ""


def test_a_function_exported_without_a_name():
    assert named("export default function<T>(a: T): T {\n  return a\n}\n", "lib/same.mts") == [("function", "same")]
