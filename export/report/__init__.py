"""One report, three forms: what a command found out, as a page for people, lines in a terminal, and JSON for programs.

    model.py         what a report is: pure data with a JSON schema, checked when it is made
    cells.py         a table's values -> the words and numbers that people read
    plots.py         a plot's data -> SVG
    html.py          a report -> one self-contained page, by template.html
    terminal.py      a report -> lines in a terminal
    files.py         a report -> NAME.html and NAME.json in a folder, whole or not at all

A command makes a `Report`; it never writes HTML, and nothing here knows what a temperature is.
"""
