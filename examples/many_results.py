# Several results of one page. A task has one result, and the newest wins; so each item goes by a message whose
# URL makes it a result of its own. The project's rate does not hold messages back.
#
#     zspiderd run examples/many_results.py
#
# rate: 10
from zspider import BaseHandler

SITE = "http://shop.example"


class Handler(BaseHandler):
    def on_start(self):
        self.crawl(f"{SITE}/books/1", callback=self.list_page)

    def list_page(self, response):
        for number, book in enumerate(response.css("a.book")):
            item = {"title": book.text, "updated": book.get("data-updated")}
            self.send_message(self.project_name, item, url=f"{response.url}#{number}")

    def on_message(self, project, msg):
        return msg
