# A JSON API, page by page.
#
#     zspiderd run examples/json_api.py
#
# rate: 10
from zspider import BaseHandler

SITE = "http://shop.example"


class Handler(BaseHandler):
    crawl_config = {"headers": {"Accept": "application/json"}, "timeout": 30}

    def on_start(self):
        self.ask(offset=0)

    def ask(self, offset):
        self.crawl(f"{SITE}/api/stock", params={"offset": offset, "limit": 3}, callback=self.stock, save=offset)

    def stock(self, response):
        answer = response.json
        if answer["items"] and answer["more"]:
            self.ask(response.save + len(answer["items"]))
        return {"offset": response.save, "stock": {item["id"]: item["left"] for item in answer["items"]}}
