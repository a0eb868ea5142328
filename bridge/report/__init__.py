"""Reports: an Agreement as text for a terminal, Markdown, HTML and tidy Parquet."""
