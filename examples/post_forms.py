# Forms: a task is known by its URL alone, so two POSTs to one URL would be one task. `get_taskid` tells them apart.
#
#     zspiderd run examples/post_forms.py
#
# rate: 10
from hashlib import sha256

from zspider import BaseHandler

SITE = "http://shop.example"


class Handler(BaseHandler):
    def get_taskid(self, task):
        return sha256((task["url"] + str(task["fetch"].get("data", ""))).encode()).hexdigest()

    def on_start(self):
        for word in ("tea", "coffee"):
            self.crawl(f"{SITE}/search", data={"word": word}, callback=self.found, save={"word": word})

    def found(self, response):
        return {"word": response.save["word"], "found": [item.text for item in response.css("li")]}
