"""The processes that run scripts, as the slave sees them: started, fed, watched and ended."""
