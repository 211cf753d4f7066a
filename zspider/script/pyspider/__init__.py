"""The parts of pyspider that old scripts use: its module names, and the small functions behind them."""
