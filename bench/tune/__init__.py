"""`david bench tune`: the settings that train and pack fastest here, of those that change nothing of the results."""
