# Pages that change: what is fetched again, and when.
#
#     zspiderd project push examples/recrawl.py && zspiderd project start recrawl
#
# On a daemon this goes on for ever. `zspiderd run examples/recrawl.py` visits everything once and ends.
#
# rate: 10
from zspider import BaseHandler, config, every

SITE = "http://shop.example"


class Handler(BaseHandler):
    @every(minutes=30)
    def on_start(self):
        # `age`: a list that was fetched less than ten minutes ago is left alone.
        self.crawl(f"{SITE}/books/1", callback=self.list_page, age=10 * 60)

    def list_page(self, response):
        for book in response.css("a.book"):
            # `itag`: a book is fetched again only when the list shows another date for it.
            response.follow(book, callback=self.book_page, itag=book.get("data-updated"))

    def book_page(self, response):
        return {"url": response.url, "price": response.doc(".price").text()}

    @every(cron="0 6 * * *", timezone="Europe/London")
    def each_morning(self):
        self.crawl(f"{SITE}/books/1", callback=self.headline, taskid="headline", force_update=True)

    @config(age=24 * 60 * 60, auto_recrawl=True)  # comes back by itself, a day after each visit
    def headline(self, response):
        return {"first": response.doc("a.book").eq(0).text()}
