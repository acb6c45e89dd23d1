"""Graphs written and read again, hostile names included, and every refusal in one sentence."""

import csv
import io
from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pydot
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analyses.graph_files import read_graph, to_csv, to_dot, to_graphml

HOSTILE = [
    'a "quoted" name',
    "commas, and; semicolons",
    "<b>&amp;</b>",
    "Größe β₁ 体重 🧬",
    "back\\slash\\",
    "line\nbreak",
]
printable = st.characters(exclude_categories=["Cs", "Cc"])
names_strategy = st.lists(
    st.text(printable, min_size=1, max_size=8).filter(lambda s: s.strip() == s),
    min_size=2,
    max_size=5,
    unique=True,
)


def chain(names: list[str], **attributes: object) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(names, kind="latent")
    graph.add_edges_from(pairwise(names), **attributes)
    return graph


@settings(max_examples=60)
@given(names_strategy)
@example(HOSTILE)
def test_an_edge_list_is_read_as_it_was_written(names: list[str]) -> None:
    graph = chain(names)
    graph.remove_edge(*names[:2])
    for known in (names, None):
        found = read_graph(to_csv(graph).encode(), known)
        assert set(found.nodes) == set(graph.nodes)
        assert set(found.edges) == set(graph.edges)


@settings(max_examples=60)
@given(names_strategy)
@example(HOSTILE)
def test_graphml_is_read_as_it_was_written(names: list[str]) -> None:
    graph = chain(names, share=0.25, directed=False)
    found = nx.parse_graphml(to_graphml(graph))
    assert set(found.nodes) == set(names) and set(found.edges) == set(graph.edges)
    assert all(data == {"share": 0.25, "directed": False} for _, _, data in found.edges(data=True))
    assert found.nodes[names[0]]["kind"] == "latent"


def test_characters_that_xml_cannot_hold_are_replaced() -> None:
    text = to_graphml(chain(["a\x00b", "c\ufffe"], note="\x1b"))
    assert set(nx.parse_graphml(text).edges) == {("a�b", "c�")}


def unescaped(text: str) -> str:
    return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")


@pytest.mark.parametrize("name", HOSTILE)
def test_dot_is_parsed_to_the_same_names(name: str) -> None:
    (parsed,) = pydot.graph_from_dot_data(
        to_dot(chain([name, "plain"], share=np.float64(0.5), directed=False))
    )
    (edge,) = parsed.get_edges()
    assert unescaped(edge.get_source()) == name and unescaped(edge.get_destination()) == "plain"
    attributes = {key.strip('"'): value.strip('"') for key, value in edge.get_attributes().items()}
    assert attributes == {"dir": "none", "share": "0.5", "directed": "False"}


def test_attributes_become_columns() -> None:
    graph = nx.DiGraph()
    graph.add_edge("a", "b", share=np.float64(0.5), weight=None)
    graph.add_edge("b", "c", in_truth=True)
    rows = list(csv.DictReader(io.StringIO(to_csv(graph))))
    assert rows == [
        {"source": "a", "target": "b", "in_truth": "", "share": "0.5"},
        {"source": "b", "target": "c", "in_truth": "True", "share": ""},
    ]


def test_weights_are_kept_and_zero_is_no_edge() -> None:
    found = read_graph(b"Source,Target,weight\na,b,0.5\nb,c,0\nc,d,\n")
    assert dict(found.edges) == {("a", "b"): {"weight": 0.5}, ("c", "d"): {}}
    assert set(found) == set("abcd")


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n0,1,0\n0,0,2\n0,0,0\n",
        ",a,b,c\na,0,1,\nb,0,0,2\nc,0,0,0\n",
        "node,a,b,c\nc,0,0,0\nb,0,0,2\na,0,1,0\n",
    ],
)
def test_a_square_table_is_an_adjacency(text: str) -> None:
    found = read_graph(text.encode(), ["a", "b", "c"])
    assert dict(found.edges) == {("a", "b"): {"weight": 1}, ("b", "c"): {"weight": 2}}


def test_parquet_holds_either_form(tmp_path: Path) -> None:
    edges = pd.DataFrame({"source": ["a"], "target": ["b"], "weight": [2.0]})
    edges.to_parquet(tmp_path / "edges.parquet")
    assert dict(read_graph(tmp_path / "edges.parquet").edges) == {("a", "b"): {"weight": 2}}
    square = pd.DataFrame([[False, True], [False, False]], index=["a", "b"], columns=["a", "b"])
    square.to_parquet(tmp_path / "square.parquet")
    assert set(read_graph((tmp_path / "square.parquet").read_bytes()).edges) == {("a", "b")}
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        read_graph(tmp_path / "broken.parquet")


def test_nodes_of_the_table_are_there_without_edges() -> None:
    found = read_graph(b"source,target\n a ,b\n", ["a", "b", "c"])
    assert set(found) == {"a", "b", "c"} and set(found.edges) == {("a", "b")}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("x,y,z\n1,2,3\n", "3 columns and 1 rows"),
        ("source,target\na,b,c\n", "Row 2 of the graph file has 3 cells"),
        ("source,target\na,a\n", "Row 2 joins a with itself"),
        ("source,target\na,b\na,b\n", "Row 3 gives the edge a → b a second time"),
        ("source,target\nage,b\n", "names age, which is not among the nodes; did you mean Age?"),
        ("source,target\n,b\n", "Row 2 of the edge list has no source"),
        ("source,target,weight\na,b,much\n", "Row 2, column weight holds “much”"),
        ("source,target,weight\na,b,inf\n", "finite"),
        ("source,target\na,b\nb,a\n", "cycle"),
        ("a,a\n0,1\n0,0\n", "names a column twice"),
        (",a,b\na,0,1\nx,0,0\n", "Row “x”"),
        (",a,b\na,0,1\na,0,0\n", "Row “a”"),
        (",a,b\na,1,1\nb,0,0\n", "joins a with itself"),
        (",a,b\na,0,yes\nb,0,0\n", "Row a, column b holds “yes”"),
        ('source,target\n"a,b\n', "not a UTF-8 CSV"),
    ],
)
def test_refusals_name_the_place_and_the_remedy(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as refusal:
        read_graph(text.encode(), ["a", "b", "Age"])
    assert sentence in str(refusal.value) and str(refusal.value).endswith((".", "?"))


def test_cycles_are_allowed_where_asked_and_files_must_exist(tmp_path: Path) -> None:
    assert len(read_graph(b"source,target\na,b\nb,a\n", acyclic=False).edges) == 2
    with pytest.raises(ValueError, match="is not a file"):
        read_graph(tmp_path / "nowhere.csv")
    with pytest.raises(ValueError, match="not a UTF-8"):
        read_graph("source,target\nä,b\n".encode("latin-1"))
