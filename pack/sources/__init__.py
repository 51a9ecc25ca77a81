"""One file a data set: units and axes are converted there and nowhere else."""
