"""Handlers whose code raises in every place that runs it, for the tests of one run and of real processors."""

from textwrap import dedent, indent

HEAD = """
import json, os, signal, threading, time, warnings

class Own(BaseException): pass
class Mute(Exception):
    def __str__(self): raise SystemExit('nothing')
    __repr__ = __str__
class Liar(Exception):
    __class__ = property(lambda self: 1 / 0)
    __traceback__ = property(lambda self: 1 / 0)
    __cause__ = property(lambda self: 1 / 0)
    __notes__ = property(lambda self: 1 / 0)
class Meta(type):
    __name__ = property(lambda cls: 1 / 0)
    __module__ = property(lambda cls: 1 / 0)
    def __getattribute__(cls, name): raise SystemExit(name)
class Nameless(Exception, metaclass=Meta): pass
class Text(str):
    def __str__(self): return self
    def __getitem__(self, key): return 5
    def split(self, *_): raise KeyError('split')
    def __format__(self, how): raise KeyError('format')
    def encode(self, *_): raise KeyError('encode')
class Sly(Exception):
    def __str__(self): return Text('mine')

def boom(*_, **__): raise ERROR

def odd(*names, base=object, **more):
    return type('Odd', (base,), {**dict.fromkeys(names, boom), **more})
"""

# What is raised, and how the reason begins.
ERRORS = {
    "KeyError('mine')": "KeyError: 'mine'",
    "SystemExit('mine')": "SystemExit: mine",
    "KeyboardInterrupt('mine')": "KeyboardInterrupt: mine",
    "GeneratorExit('mine')": "GeneratorExit: mine",
    "MemoryError('mine')": "MemoryError: mine",
    "RecursionError('mine')": "RecursionError: mine",
    "Own('mine')": "Own: mine",
    "Sly()": "Sly: mine",
    "Mute()": "Mute: (its text cannot be made)",
    "Liar('mine')": "Liar: mine",
    "Nameless('mine')": "Nameless: mine",
}

# Where it is raised: the body of a handler's class.
PLACES = {
    "the callback": "def page(self): boom()",
    "a property for a callback": "page = property(boom)",
    "a metaclass for a callback": "page = type('M', (type,), {'__call__': boom})('C', (), {})",
    "__getattr__": """
        def __getattr__(self, name):
            if name == 'page': boom()
            raise AttributeError(name)
    """,
    "__getattribute__": """
        def __getattribute__(self, name):
            if name == 'page': boom()
            return super().__getattribute__(name)
    """,
    "__setattr__ of save": """
        def page(self): pass
        def __setattr__(self, name, value):
            if name == 'save': boom()
            super().__setattr__(name, value)
    """,
    "__setattr__ of task": """
        def page(self): pass
        def __setattr__(self, name, value):
            if name == 'task': boom()
            super().__setattr__(name, value)
    """,
    "crawl": "def page(self): pass\ncrawl = property(boom)",
    "an object for a callback": "page = odd('__call__')()",
    "the callback's marks": "page = odd(__call__=int, __getattr__=lambda self, name: name[0] == '_' and boom())()",
    "a mark's truth": "def page(self): pass\npage._not_send_status = odd('__bool__')()",
    "another mark's truth": "def page(self): pass\npage._catch_status_code_error = odd('__bool__')()",
    "a result's text": "def page(self): return odd('__str__')()",
    "a result's truth": "def page(self): return odd('__bool__')()",
    "a result's length": "def page(self): return odd('__len__')()",
    "a result's items": "def page(self): return odd('items', base=dict)(a=1)",
    "a generator": "def page(self):\n    yield 1\n    boom()",
    "a generator's finally": "def page(self):\n    try: yield odd('__bool__')()\n    finally: boom()",
    "a coroutine": "async def page(self): boom()",
    "on_result": "def page(self): return 1\ndef on_result(self, result): boom()",
    "save's text": "def page(self): self.save = odd('__str__')()",
    "a text in save": "def page(self): self.save = {'a': [odd('__str__')()]}",
    "a key of save": "def page(self): self.save = {odd('__str__')(): 1}",
    "save's items": "def page(self): self.save = odd('items', base=dict)(a=1)",
    "save's iterator": "def page(self): self.save = odd('__iter__', base=list)([1])",
    "save itself": "def page(self): pass\nsave = property(boom, lambda self, value: None)",
    "an option": "def page(self): self.crawl('http://a/', callback=self.page, save=odd('__str__')())",
    "options": "def page(self): self.crawl('http://a/', headers=odd('items', base=dict)(a=1))",
    "a hash": "def page(self): self.crawl('http://a/', callback=odd('__hash__', __name__='page')())",
    "URLs": "def page(self): self.crawl(odd('__iter__')())",
    "get_taskid": "def page(self): self.crawl('http://a/')\ndef get_taskid(self, task): boom()",
    "crawl_config": "def page(self): self.crawl('http://a/')\ncrawl_config = property(boom)",
    "a message": "def page(self): self.send_message('other', odd('__str__')())",
    "print": "def page(self): print(odd('__str__')())",
    "a signal": "def page(self):\n    signal.signal(signal.SIGUSR1, boom)\n    os.kill(os.getpid(), signal.SIGUSR1)",
    "a timer": """
        def page(self):
            signal.signal(signal.SIGVTALRM, boom)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)
            while True: pass
    """,
    "a trace": "def page(self):\n    sys.settrace(boom)\n    (lambda: 1)()",
    "the builtins": "def page(self):\n    import builtins\n    builtins.isinstance = boom\n    self.crawl('http://a/')",
    "time": "def page(self):\n    time.time = boom\n    time.time()",
}


def hostile_script(body: str, error: str) -> str:
    """Return a script whose handler has this body, for which `boom` raises this."""
    body = indent(dedent(body).strip("\n"), "    ")
    return HEAD.replace("ERROR", error) + "\nclass Handler(BaseHandler):\n" + body + "\n"
