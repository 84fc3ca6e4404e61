"""What a viewer can choose at the top of a dashboard."""

from grafana_foundation_sdk.builders.dashboard import DatasourceVariable, QueryVariable
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableOption, VariableRefresh, VariableSort

DATASOURCE = DataSourceRef(type_val="prometheus", uid="$datasource")

_OF_SERVICE = 'job=~"$job",instance=~"$instance"'


def datasource() -> DatasourceVariable:
    return DatasourceVariable("datasource").label("Data source").type("prometheus")


def service() -> list[QueryVariable]:
    """Job and instance: services that run side by side tell the same symbols."""
    return [
        _several("job", "Job", "signalserve_ready"),
        _several("instance", "Instance", 'signalserve_ready{job=~"$job"}'),
    ]


def symbols() -> QueryVariable:
    return _several("symbol", "Symbol", f"signalserve_ready{{{_OF_SERVICE}}}")


def arms() -> QueryVariable:
    return _several("arm", "Arm", f"signalserve_drift_n{{{_OF_SERVICE}}}")


def one_symbol() -> QueryVariable:
    return _values("symbol", "Symbol", f"signalserve_ready{{{_OF_SERVICE}}}")


def one_arm() -> QueryVariable:
    return _values("arm", "Arm", f"signalserve_drift_n{{{_OF_SERVICE}}}")


def window() -> QueryVariable:
    return (
        _values("window", "Window", f"signalserve_drift_n{{{_OF_SERVICE}}}")
        .sort(VariableSort.NUMERICAL_ASC)
        .current(VariableOption(text="1440", value="1440"))
    )


def _values(name: str, label: str, selector: str) -> QueryVariable:
    """One value of a label, of those that the series of a selector have within the time shown."""
    return (
        QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query(f"label_values({selector}, {name})")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )


def _several(name: str, label: str, selector: str) -> QueryVariable:
    return (
        _values(name, label, selector)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(VariableOption(text="All", value="$__all"))
    )
