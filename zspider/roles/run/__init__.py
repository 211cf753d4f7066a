"""`zspiderd run`: a master and a slave for one script, its progress and its end."""
