# Messages: a project tells a project something. This one tells itself; any project's name works.
#
#     zspiderd run examples/messages.py
#
# A message is kept like a page: it survives crashes, is heard once, and what `on_message` returns is the
# result of the message's URL. A second message with the same URL replaces that result.
#
# rate: 10
from zspider import BaseHandler

SITE = "http://shop.example"


class Handler(BaseHandler):
    def on_start(self):
        self.crawl(f"{SITE}/books/1", callback=self.list_page)

    def list_page(self, response):
        for book in response.css("a.book"):
            response.follow(book, callback=self.book_page)

    def book_page(self, response):
        price = float(response.doc(".price").text().lstrip("£"))
        if price < 10:
            self.send_message(self.project_name, {"bargain": response.url, "price": price}, url=f"data:,{response.url}")

    def on_message(self, project, msg):
        return {"told by": project, **msg}
