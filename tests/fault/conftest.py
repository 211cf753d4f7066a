"""The site, the servers and the clusters that these tests crawl with."""

from tests.support.crawling import cluster, database, mariadb, pages, site

__all__ = ["cluster", "database", "mariadb", "pages", "site"]  # fixtures
