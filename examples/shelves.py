# The usual shape of a crawl: lists lead to details. The demo site's shelves, once a day, and the articles on them.
#
#     zspiderd demo-site --port 8000 &
#     zspiderd run examples/shelves.py
#
# rate: 200
# burst: 200
from zspider import BaseHandler, config, every


class Handler(BaseHandler):
    crawl_config = {"timeout": 30, "headers": {"Accept-Language": "en"}}

    @every(minutes=24 * 60)
    def on_start(self):
        self.crawl("http://127.0.0.1:8000/index.html", callback=self.start_page)

    @config(age=12 * 60 * 60)
    def start_page(self, response):
        shelves = (link.attr.href for link in response.doc('a[href*="/index/"]').items())
        self.crawl(shelves, callback=self.shelf_page)

    @config(age=12 * 60 * 60)
    def shelf_page(self, response):
        for link in response.doc('a[href*="/article/"]').items():
            self.crawl(link.attr.href, callback=self.article_page, save={"shelf": response.url})

    @config(priority=2)
    def article_page(self, response):
        return {
            "url": response.url,
            "shelf": response.save["shelf"],
            "title": response.doc("title").text(),
            "sections": [heading.text() for heading in response.doc("section > h2").items()],
        }
