"""Figures: what training did, drawn with matplotlib, which is imported only when one is drawn.

One file a figure; colours, marks and saving are in style.py. Nothing is computed here that is not shown.
"""
