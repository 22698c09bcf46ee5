"""The report: turns sealed records into tables, figures and text, as Markdown and PDF.

It never trains.
"""
