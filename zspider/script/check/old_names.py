"""Names that Python 2, or an older Python 3, had and the present one has not (docs/pyspider-behaviour.md 2.9)."""

NAMES = {
    "unicode": "str",
    "basestring": "str",
    "xrange": "range",
    "raw_input": "input",
    "unichr": "chr",
    "long": "int",
    "reduce": "functools.reduce",
    "reload": "importlib.reload",
    "execfile": "exec(open(...).read())",
    "cmp": "(a > b) - (a < b)",
    "file": "open",
    "apply": "f(*args)",
    "intern": "sys.intern",
    "StandardError": "Exception",
}

MODULES = {
    "urllib2": "urllib.request",
    "urlparse": "urllib.parse",
    "cookielib": "http.cookiejar",
    "Cookie": "http.cookies",
    "httplib": "http.client",
    "HTMLParser": "html.parser",
    "htmlentitydefs": "html.entities",
    "Queue": "queue",
    "StringIO": "io",
    "cStringIO": "io",
    "cPickle": "pickle",
    "ConfigParser": "configparser",
    "commands": "subprocess",
    "md5": "hashlib",
    "imp": "importlib",
    "cgi": "html and urllib.parse",
    "asyncore": "asyncio",
    "distutils": "setuptools",
}

_ABC = ("Mapping", "MutableMapping", "Sequence", "MutableSequence", "Set", "Iterable", "Iterator", "Callable")
ATTRIBUTES = {
    **{("collections", name): f"collections.abc.{name}" for name in _ABC},
    **{("urllib", name): f"urllib.parse.{name}" for name in ("urlencode", "quote", "quote_plus", "unquote")},
    **{("urllib", name): f"urllib.request.{name}" for name in ("urlopen", "urlretrieve")},
    **{("string", name): f"string.ascii_{name}" for name in ("letters", "lowercase", "uppercase")},
    **{
        ("string", name): f"the text's own {name}()" for name in ("join", "split", "replace", "strip", "lower", "upper")
    },
    **{("string", f"ato{letter}"): kind for letter, kind in (("i", "int"), ("f", "float"), ("l", "int"))},
    **{("itertools", f"i{name}"): name for name in ("zip", "map", "filter")},
    ("fractions", "gcd"): "math.gcd",
    ("inspect", "getargspec"): "inspect.getfullargspec",
    ("os", "getcwdu"): "os.getcwd",
    ("sys", "maxint"): "sys.maxsize",
    ("sys", "setdefaultencoding"): "nothing: text is Unicode",
    ("time", "clock"): "time.perf_counter",
}

METHODS = {  # of dicts
    "has_key": "`in`",
    **{f"{way}{name}": f"{name}()" for way in ("iter", "view") for name in ("keys", "values", "items")},
}

SPECIAL_METHODS = {  # that Python 2 called
    "__nonzero__": "__bool__",
    "__unicode__": "__str__",
    "__div__": "__truediv__",
    "__getslice__": "__getitem__",
    "__cmp__": "__lt__ and __eq__",
}
