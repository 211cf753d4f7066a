"""The web interface: none yet. The layer is here so that the contracts of imports hold for it from the beginning."""
