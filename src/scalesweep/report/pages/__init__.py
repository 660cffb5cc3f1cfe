"""The report as one HTML page, as Markdown, and as tables for papers."""
