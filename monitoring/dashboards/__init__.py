"""Grafana dashboards, written from Python.

`queries.py`   selectors that follow the variables    `overview.py`   signalserve: the verdict first, then why
`variables.py` data source, job, symbol, arm …        `stream.py`     signalserve-drift: one symbol and arm in depth
`panels.py`    kinds of panels, with one look each    `runbooks.py`   signalserve-runbooks: what to do about each alert
                                                      `written.py`    all of them as the text of their files
"""
