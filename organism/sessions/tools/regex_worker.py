"""Searches texts for a regular expression, as a process of its own: some expressions never end, and hold the
interpreter's lock meanwhile. Reads JSON {pattern, limit, texts: [[path, text]]}, writes JSON [[path, line, text]]."""

import json
import re
import sys


def main() -> None:
    asked = json.load(sys.stdin)
    try:
        pattern = re.compile(asked["pattern"])
    except (re.error, RecursionError, OverflowError) as error:
        json.dump({"error": str(error)}, sys.stdout)
        return
    json.dump({"found": search(pattern, asked["texts"], asked["limit"])}, sys.stdout)


def search(pattern: "re.Pattern[str]", texts: list[list[str]], limit: int) -> list[list[object]]:
    found: list[list[object]] = []
    for path, text in texts:
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                found.append([path, number, line[:500]])
                if len(found) >= limit:
                    return found
    return found


if __name__ == "__main__":
    main()
