"""The report: sealed records to tables, figures, sentences, Markdown and PDF. A pure function; it never trains."""
