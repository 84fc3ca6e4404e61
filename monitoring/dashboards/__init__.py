"""Grafana dashboards, written from Python.

`overview.py`  signalserve: the verdict first, then why, in `parts/`     `panels.py`     kinds of panels, one look each
`stream.py`    signalserve-drift: one symbol and arm in depth            `queries.py`    selectors that follow choices
`runbooks.py`  signalserve-runbooks: what to do about each alert         `variables.py`  what a viewer can choose
`written.py`   all of them as the text of their files                    `links.py`      ways between them
"""
