"""The Grafana dashboards: `boards/` says what they show; `python -m tools.dashboards` writes them
to `deploy/grafana`."""
