"""What is true of the chunks of any file."""

from librarian.chunks import ChunkedFile, chunk_ids


def check(path: str, data: bytes, chunked: ChunkedFile) -> None:
    check_ownership(data, chunked)
    check_nesting(chunked)
    check_lines(data, chunked)
    ids = chunk_ids(path, chunked.chunks, data)
    assert len(set(ids)) == len(ids)
    assert all(symbol.name and symbol.chunk < len(chunked.chunks) for symbol in chunked.symbols)


def check_ownership(data: bytes, chunked: ChunkedFile) -> None:
    """Every byte has one owner, whose bounds it is in unless it is blank."""
    spans = sorted(span for chunk in chunked.chunks for span in chunk.owned)
    assert [start for start, _ in spans] == [0, *(end for _, end in spans)][: len(spans)]
    assert (spans[-1][1] if spans else 0) == len(data)
    for chunk in chunked.chunks:
        assert list(chunk.owned) == sorted(chunk.owned)
        for start, end in chunk.owned:
            outside = data[start : min(end, chunk.start_byte)] + data[max(start, chunk.end_byte) : end]
            assert not outside.strip()


def check_nesting(chunked: ChunkedFile) -> None:
    open_: list[int] = []
    for chunk in chunked.chunks:
        while open_ and open_[-1] <= chunk.start_byte:
            open_.pop()
        assert not open_ or chunk.end_byte <= open_[-1], "it crosses the end of what it is in"
        open_.append(chunk.end_byte)
    order = [(chunk.start_byte, -chunk.end_byte) for chunk in chunked.chunks]
    assert order == sorted(order)


def check_lines(data: bytes, chunked: ChunkedFile) -> None:
    """Those of a chunk hold all of it, the first and the last one not for nothing; a line ends at a newline only."""
    lines = data.split(b"\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    for chunk in chunked.chunks:
        assert 1 <= chunk.start_line <= chunk.end_line <= len(lines)
        if not data[chunk.start_byte : chunk.end_byte].strip():
            continue
        first = slice(
            max(chunk.start_byte, starts[chunk.start_line - 1]), min(chunk.end_byte, starts[chunk.start_line])
        )
        last = slice(max(chunk.start_byte, starts[chunk.end_line - 1]), min(chunk.end_byte, starts[chunk.end_line]))
        assert data[first].strip()
        assert data[last].strip()
        assert not data[chunk.start_byte : first.start].strip()
        assert not data[last.stop : chunk.end_byte].strip()
    assert all(1 <= symbol.start_line <= symbol.end_line <= len(lines) for symbol in chunked.symbols)
