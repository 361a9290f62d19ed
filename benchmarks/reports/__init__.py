"""Output of results: terminal, Markdown, an HTML page, and a PNG figure; nothing is measured here."""
