"""Prometheus rules, written from tables in Python.

`rule.py`        Record, Alert, Group          `service.py` `models.py` `feed.py` `journal.py` `drift.py` `quality.py`
`timescale.py`   durations in a drill's time                   the tables: what is recorded, what alarms, in what words
`words.py`       labels and numbers in texts   `written.py`    all of them as the text of rules.yml
"""
