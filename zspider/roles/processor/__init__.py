"""One process that runs scripts: `python -m zspider.roles.processor`.

Import nothing here that loads ZeroMQ, pycurl, the settings or a database: a machine runs many processors, and each pays
for what it loads. A contract of imports in pyproject.toml holds this.
"""
