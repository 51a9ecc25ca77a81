"""Raw data as it lies on the disk: zips and folders read in place, PNG and EXR decoded with care."""
