# A site behind a login: send the form, and hand the session's cookie on to the pages behind it.
#
#     SHOP_USER=ann SHOP_PASSWORD=secret zspiderd run examples/login.py
#
# Nothing is kept between tasks by itself: every task says which cookies it sends.
#
# rate: 10
import os

from zspider import BaseHandler

SITE = "http://shop.example"


class Handler(BaseHandler):
    def on_start(self):
        self.crawl(f"{SITE}/login", callback=self.login_page)

    def login_page(self, response):
        form = {field.get("name"): field.get("value", "") for field in response.css("form input[name]")}
        form.update(user=os.environ.get("SHOP_USER", "ann"), password=os.environ.get("SHOP_PASSWORD", "secret"))
        # A GET and a POST of one URL are one task unless one of them has a taskid of its own.
        response.follow("/login", callback=self.logged_in, method="POST", data=form, taskid="login-form")

    def logged_in(self, response):
        if "session" not in response.cookies:
            raise ValueError("the login was refused")  # tried again later, then failed with this reason
        response.follow("/orders", callback=self.orders_page, cookies={"session": response.cookies["session"]})

    def orders_page(self, response):
        return {"orders": [item.text for item in response.css("li.order")]}
