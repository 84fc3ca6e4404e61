"""What watches the service from outside: Prometheus and Grafana, their files written by code.

`rules/`        recording rules and alerts -> prometheus/rules.yml    `metrics.md`   every metric of :8083/metrics
`dashboards/`   panels -> grafana/dashboards/*.json                   `runbooks.md`  what to do about each alert

`python -m monitoring rules`, `python -m monitoring dashboards`; `make monitoring` writes everything anew.
"""
