"""How results are shown: in the terminal, as Markdown, as one HTML page, and as a picture; nothing is measured here."""
