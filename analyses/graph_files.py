"""Graphs as files: DOT, GraphML and edge lists out; edge lists and adjacency tables in.

Names may hold anything: quotes, commas, angle brackets, line breaks, any script. Refusals are ValueErrors with one
sentence that names the row or column and what to do.
"""

import csv
import difflib
import io
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

MAX_BYTES = 20_000_000
INDEX = "__index_level_0__"
NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-�\U00010000-\U0010ffff]")


def to_dot(graph: nx.DiGraph) -> str:
    """The graph in Graphviz' DOT language, attributes included; an edge with `directed` False has no arrowhead."""
    lines = ["digraph {"]
    lines += [f"  {_quoted(node)}{_dot_attributes(found)};" for node, found in graph.nodes(data=True)]
    for source, target, found in graph.edges(data=True):
        shown = {"dir": "none", **found} if found.get("directed") is False else found
        lines.append(f"  {_quoted(source)} -> {_quoted(target)}{_dot_attributes(shown)};")
    return "\n".join([*lines, "}", ""])


def _quoted(value: object) -> str:
    """A DOT string; Graphviz keeps a doubled backslash as it is and shows it as one."""
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _dot_attributes(found: Mapping[str, Any]) -> str:
    pairs = ", ".join(f"{_quoted(key)}={_quoted(value)}" for key, value in _plain(found).items())
    return f" [{pairs}]" if pairs else ""


def _plain(found: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as text, numbers and truth values; None is left out."""
    values = {key: value.item() if isinstance(value, np.generic) else value for key, value in found.items()}
    return {
        key: value if isinstance(value, (bool, int, float)) else str(value)
        for key, value in values.items()
        if value is not None
    }


def to_graphml(graph: nx.DiGraph) -> str:
    """The graph as GraphML, attributes included; characters that XML cannot hold become �."""
    clean = nx.DiGraph()
    for node, found in graph.nodes(data=True):
        clean.add_node(_xml(node), **{key: _xml(value) for key, value in _plain(found).items()})
    for source, target, found in graph.edges(data=True):
        values = {key: _xml(value) for key, value in _plain(found).items()}
        clean.add_edge(_xml(source), _xml(target), **values)
    return "\n".join(nx.generate_graphml(clean)) + "\n"


def _xml(value: Any) -> Any:
    return NOT_XML.sub("�", value) if isinstance(value, str) else value


def to_csv(graph: nx.DiGraph) -> str:
    """An edge list `source,target` and a column for each edge attribute; a node without edges has an empty target."""
    keys = sorted({key for _, _, found in graph.edges(data=True) for key in _plain(found)})
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["source", "target", *keys])
    for source, target, found in graph.edges(data=True):
        values = _plain(found)
        writer.writerow([source, target, *(values.get(key, "") for key in keys)])
    writer.writerows([node, "", *([""] * len(keys))] for node in nx.isolates(graph))
    return file.getvalue()


def read_graph(
    source: str | Path | bytes, names: Collection[str] | None = None, acyclic: bool = True
) -> nx.DiGraph:
    """A directed graph from a CSV or Parquet file (its path or its bytes).

    Either an edge list with the columns source, target and, where wanted, weight (a number kept on the edge; weight 0
    is no edge; a row without a target names a node without edges), or a square adjacency table whose columns are
    the nodes and whose rows are the same nodes in the same order, or are named by a first column; an entry other
    than 0 in row i, column j is the edge i → j and its weight. With `names` these are the nodes, and no other may
    occur. Raises ValueError for a file that is neither, a weight that is no number, an unknown name, an edge given
    twice, an edge from a node to itself and, if `acyclic`, a directed cycle.
    """
    header, rows = _table(source)
    lower = [name.strip().lower() for name in header]
    if "source" in lower and "target" in lower:
        edges, nodes = _edge_list(lower, rows)
    else:
        edges, nodes = _adjacency(header, rows)
    graph = nx.DiGraph()
    graph.add_nodes_from(names if names is not None else [])
    for node in nodes:
        graph.add_node(_known(node, names))
    for where, first, second, weight in edges:
        a, b = _known(first, names), _known(second, names)
        if a == b:
            raise ValueError(f"{where} joins {a} with itself; remove it.")
        if graph.has_edge(a, b):
            raise ValueError(f"{where} gives the edge {a} → {b} a second time; remove it.")
        graph.add_edge(a, b, **({} if weight is None else {"weight": weight}))
    if acyclic and not nx.is_directed_acyclic_graph(graph):
        found = [edge[0] for edge in nx.find_cycle(graph)]
        cycle = " → ".join([*found, found[0]])
        raise ValueError(f"The graph holds the cycle {cycle}; remove one of its edges.")
    return graph


Edges = list[tuple[str, str, str, float | None]]


def _table(source: str | Path | bytes) -> tuple[list[str], list[list[str]]]:
    content = source if isinstance(source, bytes) else _content(Path(source).expanduser())
    if len(content) > MAX_BYTES:
        raise ValueError(
            f"The graph file holds {len(content) / 1e6:.0f} MB, more than 20; give a smaller graph."
        )
    if content.startswith(b"PAR1"):
        try:
            table = pq.read_table(io.BytesIO(content))
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"The graph file cannot be read as Parquet ({error}); write it again.") from None
        if INDEX in table.column_names:
            table = table.select([INDEX, *(name for name in table.column_names if name != INDEX)])
        columns = [
            ["" if value is None else str(value) for value in column.to_pylist()] for column in table.columns
        ]
        return list(table.column_names), [list(row) for row in zip(*columns, strict=True)]
    try:
        lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        rows = [row for row in lines if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"The graph file is not a UTF-8 CSV table ({error}); save it again as one."
        ) from None
    if not rows:
        raise ValueError(
            "The graph file is empty; its first line must name the columns, as in source,target."
        )
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"Row {number} of the graph file has {len(row)} cells, the header {len(rows[0])}; correct it."
            )
    return rows[0], rows[1:]


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise ValueError(f"{path} is not a file; give the path of an edge list or adjacency table.")
    return path.read_bytes()


def _edge_list(header: list[str], rows: list[list[str]]) -> tuple[Edges, list[str]]:
    first, second = header.index("source"), header.index("target")
    weighted = header.index("weight") if "weight" in header else None
    edges: Edges = []
    nodes = []
    for number, row in enumerate(rows, 2):
        if not row[first].strip():
            raise ValueError(f"Row {number} of the edge list has no source; name it or remove the row.")
        if not row[second].strip():
            nodes.append(row[first])
            continue
        given = row[weighted].strip() if weighted is not None else ""
        weight = _number(given, f"Row {number}, column weight") if given else None
        if weight == 0:
            nodes += [row[first], row[second]]
        else:
            edges.append((f"Row {number}", row[first], row[second], weight))
    return edges, nodes


def _adjacency(header: list[str], rows: list[list[str]]) -> tuple[Edges, list[str]]:
    size = len(rows)
    named = len(header) == size + 1
    if len(header) != size and not named:
        raise ValueError(
            f"The graph file has {len(header)} columns and {size} rows; give an edge list with the columns "
            "source,target or a square adjacency table."
        )
    columns = header[1:] if named else header
    if len({name.strip() for name in columns}) < size:
        raise ValueError("The adjacency table names a column twice; rename one.")
    labels = [row[0] for row in rows] if named else columns
    known = {name.strip() for name in columns}
    for place, label in enumerate(labels):
        if label.strip() not in known or label in labels[:place]:
            raise ValueError(
                f"Row “{label}” of the adjacency table is a repetition or no column of it; name the rows as the columns."
            )
    edges: Edges = []
    for label, row in zip(labels, rows, strict=True):
        for name, cell in zip(columns, row[1:] if named else row, strict=True):
            weight = _number(cell.strip() or "0", f"Row {label}, column {name}")
            if weight:
                edges.append((f"Row {label}, column {name}", label, name, weight))
    return edges, columns


def _number(text: str, where: str) -> float:
    try:
        value = float({"true": "1", "false": "0"}.get(text.lower(), text))
    except ValueError:
        raise ValueError(f"{where} holds “{text}”; give a number.") from None
    if not np.isfinite(value):
        raise ValueError(f"{where} holds “{text}”; give a finite number.")
    return value


def _known(name: str, names: Collection[str] | None) -> str:
    if names is None:
        return name.strip()
    if name in names:
        return name
    if name.strip() in names:
        return name.strip()
    close = difflib.get_close_matches(name, list(names), n=1)
    hint = f"did you mean {close[0]}?" if close else f"the nodes are {', '.join(sorted(names)[:8])}"
    raise ValueError(
        f"The graph names {name.strip()}, which is not among the nodes; {hint}.".replace("?.", "?")
    )
