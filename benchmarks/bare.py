"""The bare machine: fetch and parse every page in one process, keep nothing but the titles in memory."""

import argparse

from benchmarks.curlloop import CurlLoop, title_of


def main() -> None:
    """Crawl BASE/article/1.html to N.html and print how many titles were found."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("base")
    arguments.add_argument("pages", type=int)
    given = arguments.parse_args()
    titles: dict[int, str] = {}

    def keep(tag: int, status: int, body: bytes) -> None:
        if status == 200:
            titles[tag] = title_of(body)
        else:
            raise SystemExit(f"page {tag}: status {status}")

    loop = CurlLoop(keep)
    waiting = list(range(given.pages, 0, -1))
    while len(titles) < given.pages:
        while waiting and loop.free:
            number = waiting.pop()
            loop.start(number, f"{given.base}/article/{number}.html")
        loop.step(1.0)
    print(f"stored {sum(1 for title in titles.values() if title)}")


if __name__ == "__main__":
    main()
