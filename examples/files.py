# Files: what is not HTML is in `response.content`, as bytes.
#
#     zspiderd run examples/files.py
#
# A callback runs on any slave, so a file that is written there stays there. Small files fit into results, as
# text; large ones belong into storage that all slaves share.
#
# rate: 10
from base64 import b64encode
from hashlib import sha256

from zspider import BaseHandler

SITE = "http://shop.example"


class Handler(BaseHandler):
    def on_start(self):
        self.crawl(f"{SITE}/books/1", callback=self.list_page)

    def list_page(self, response):
        for url in response.links("img.cover", attribute="src"):
            self.crawl(url, callback=self.cover)

    def cover(self, response):
        return {
            "url": response.url,
            "type": response.headers["Content-Type"],
            "sha256": sha256(response.content).hexdigest(),
            "base64": b64encode(response.content).decode(),
        }
