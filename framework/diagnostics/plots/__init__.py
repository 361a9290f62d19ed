"""Figures of training, drawn with matplotlib, which is imported only when needed.

One file per figure; colours, markers and saving of files are in style.py.
"""
