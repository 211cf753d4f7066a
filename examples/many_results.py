# Several results of one page.
#
#     zspiderd run examples/many_results.py
#
# A generator's items are all kept, under the page's URL; the next visit of the page replaces them. Where each item
# shall have a URL of its own, send it as a message: the project's rate does not hold messages back.
#
# rate: 10
from zspider import BaseHandler

SITE = "http://shop.example"


class Handler(BaseHandler):
    def on_start(self):
        self.crawl(f"{SITE}/books/1", callback=self.list_page)
        self.crawl(f"{SITE}/books/2", callback=self.told_page)

    def list_page(self, response):
        for book in response.css("a.book"):
            yield {"title": book.text, "updated": book.get("data-updated")}

    def told_page(self, response):
        for number, book in enumerate(response.css("a.book")):
            item = {"title": book.text, "updated": book.get("data-updated")}
            self.send_message(self.project_name, item, url=f"{response.url}#{number}")

    def on_message(self, project, msg):
        return msg
