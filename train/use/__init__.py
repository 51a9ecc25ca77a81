"""What was trained, put to use: runs, files and hubs' names to predictors, and the commands that need one."""
