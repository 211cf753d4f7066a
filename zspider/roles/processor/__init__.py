"""One process that runs scripts: `python -m zspider.roles.processor`."""
