"""One loss a file, each with its formula and source; `table.py` has a row for each term that a recipe can weigh.

A loss takes (prediction, target, valid), gives one value an image (B,) in float32 or better, leaves every pixel out
where `valid` is False, and is 0 with gradient 0 for an image without a valid pixel.
"""
