"""The programs: they connect the other folders. One folder per process: master, slave, processor."""
