"""Losses between two networks that both say depth up to a scale and a shift: a student's and its teacher's.

Depth here grows with nearness, as disparity does. As every loss: one value an image (B,), and pixels that are not valid
leave no trace.
"""
