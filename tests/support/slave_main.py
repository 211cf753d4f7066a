"""`python -m tests.support.slave_main CONFIG`: a slave as a process, without the command line's verbs."""

import sys
from pathlib import Path

import yaml
from zspider.roles.slave.daemon import Slave
from zspider.settings import SlaveFile

sys.exit(Slave(SlaveFile.model_validate(yaml.safe_load(Path(sys.argv[1]).read_text()))).run())
