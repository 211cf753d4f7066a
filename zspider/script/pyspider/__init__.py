"""What old scripts take from pyspider: its module names, and the small functions behind them."""
