# The measuring job: 11,110 pages of about 10 KB, {url, title} of each.
#
#     zspiderd demo-site --port 8000 &
#     zspiderd run examples/article.py
#
# rate: 5000
# burst: 5000
from pyspider.libs.base_handler import *


class Handler(BaseHandler):
    crawl_config = {}

    def on_start(self):
        for i in range(1, 11111):
            self.crawl('http://127.0.0.1:8000/article/%d.html' % i, callback=self.detail_page)

    @config(priority=2)
    def detail_page(self, response):
        return {"url": response.url, "title": response.doc('title').text()}
