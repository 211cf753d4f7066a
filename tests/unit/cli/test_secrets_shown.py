"""What is shown of settings that may hold a secret."""

import pytest
from zspider.settings import MasterFile


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mysql+pymysql://crawl:s3cret@db/crawl", "mysql+pymysql://crawl:***@db/crawl"),
        ("mysql+pymysql://crawl:s3/cret@db:3306/crawl", "mysql+pymysql://crawl:***@db:3306/crawl"),
        ("mysql+pymysql://crawl:s3@cret@db/crawl", "mysql+pymysql://crawl:***@db/crawl"),
        ("mysql+pymysql://crawl:s3?cret@db/crawl?charset=utf8mb4", "mysql+pymysql://crawl:***@db/crawl"),
        ("mysql+pymysql://:s3cret@db/crawl", "mysql+pymysql://:***@db/crawl"),
        ("mysql+pymysql://db/crawl?user=crawl&password=s3cret", "mysql+pymysql://db/crawl"),
        ("mysql+pymysql://crawl@db/crawl", "mysql+pymysql://crawl@db/crawl"),
        ("sqlite:////var/lib/zspider/zspider.db", "sqlite:////var/lib/zspider/zspider.db"),
    ],
)
def test_a_database_is_shown_without_its_password(address: str, shown: str) -> None:
    assert MasterFile(database=address).database_shown == shown
