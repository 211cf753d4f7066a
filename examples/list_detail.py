# Lists and details: a paged list leads to the pages that matter, and those become results.
#
#     zspiderd run examples/list_detail.py
#
# rate: 10
from zspider import BaseHandler, config

SITE = "http://shop.example"


class Handler(BaseHandler):
    def on_start(self):
        self.crawl(f"{SITE}/books/1", callback=self.list_page)

    def list_page(self, response):
        for url in response.links("a.book"):
            self.crawl(url, callback=self.book_page)
        for link in response.css("a[rel=next]"):  # none on the last page
            response.follow(link, callback=self.list_page)

    @config(priority=2)  # details before further lists: results come early, and fewer URLs wait
    def book_page(self, response):
        return {
            "url": response.url,
            "title": response.doc("h1").text(),
            "price": float(response.doc(".price").text().lstrip("£")),
        }
