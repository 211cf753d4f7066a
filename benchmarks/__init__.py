"""zspider against the bare machine and Scrapy, in one run; see README.md in this folder."""
