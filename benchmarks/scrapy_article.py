"""The same job for Scrapy, tuned, with an SQLite pipeline. Runs in a virtual environment of its own.

Generous to Scrapy: cookies, telnet, statistics logs and AutoThrottle are off, and the pipeline commits once per
200 items, so a crash loses up to 200 results (zspider and the reference lose none).

    python scrapy_article.py BASE PAGES DATABASE [--jobdir DIRECTORY] [--graph]
"""

import argparse
import sqlite3

import scrapy
from scrapy.crawler import CrawlerProcess

BATCH = 200


class SqlitePipeline:
    """Results into SQLite, WAL with synchronous=FULL as the others, a transaction per batch."""

    def __init__(self, path):
        self.path = path
        self.rows = []

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler.settings["DATABASE"])

    def open_spider(self):
        self.db = sqlite3.connect(self.path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute("CREATE TABLE IF NOT EXISTS result (url TEXT PRIMARY KEY, title TEXT NOT NULL) WITHOUT ROWID")

    def process_item(self, item):
        self.rows.append((item["url"], item["title"]))
        if len(self.rows) >= BATCH:
            self.flush()
        return item

    def flush(self):
        self.db.execute("BEGIN IMMEDIATE")
        self.db.executemany("INSERT OR REPLACE INTO result VALUES (?, ?)", self.rows)
        self.db.execute("COMMIT")
        self.rows = []

    def close_spider(self):
        self.flush()
        print(f"stored {self.db.execute('SELECT count(*) FROM result').fetchone()[0]}", flush=True)
        self.db.close()


class ArticleSpider(scrapy.Spider):
    """BASE/article/1.html to N.html: url and title of each."""

    name = "article"

    async def start(self):
        for number in range(1, self.pages + 1):
            yield scrapy.Request(f"{self.base}/article/{number}.html")

    def parse(self, response):
        return {"url": response.url, "title": response.css("title::text").get()}


class GraphSpider(scrapy.Spider):
    """All that can be found from BASE/article/1.html: url and title of each."""

    name = "graph"

    async def start(self):
        yield scrapy.Request(f"{self.base}/article/1.html")

    def parse(self, response):
        yield {"url": response.url, "title": response.css("title::text").get()}
        for href in dict.fromkeys(response.css("a::attr(href)").getall()):  # half of LinkExtractor's price
            yield scrapy.Request(response.urljoin(href))


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("base")
    arguments.add_argument("pages", type=int)
    arguments.add_argument("database")
    arguments.add_argument("--jobdir")
    arguments.add_argument("--graph", action="store_true")
    given = arguments.parse_args()
    settings = {
        "DATABASE": given.database,
        "ITEM_PIPELINES": {SqlitePipeline: 100},
        "CONCURRENT_REQUESTS": 100,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 100,
        "CONCURRENT_ITEMS": 1,  # a page has one item; more means a task each, per page (100 by default)
        "DOWNLOAD_DELAY": 0,
        "ROBOTSTXT_OBEY": False,
        "COOKIES_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "EXTENSIONS": {
            "scrapy.extensions.logstats.LogStats": None,
            "scrapy.extensions.memusage.MemoryUsage": None,
        },
        "LOG_LEVEL": "WARNING",
        "TWISTED_REACTOR": "twisted.internet.asyncioreactor.AsyncioSelectorReactor",
        "ASYNCIO_EVENT_LOOP": "uvloop.Loop",
    }
    if given.jobdir:
        settings["JOBDIR"] = given.jobdir
    process = CrawlerProcess(settings)
    process.crawl(GraphSpider if given.graph else ArticleSpider, base=given.base, pages=given.pages)
    process.start()


if __name__ == "__main__":
    main()
