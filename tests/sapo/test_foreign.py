"""Files as d1 and LLaDA write them, small and whole, and what is said of broken ones."""

import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from engine.errors import UserError
from engine.studies.sapo.foreign import evaluations, read_evaluation, read_file
from engine.studies.sapo.importing import summary

DATA = Path(__file__).with_name("data")
REAL_D1 = sorted((DATA / "d1_countdown_128").glob("*.json"))
QUESTION = "Numbers: [99, 51, 13]\nTarget: 61"
CLEAN = "<reasoning>\n99 - 51 = 48\n48 + 13 = 61\n</reasoning>\n<answer>\n\\boxed{99 - 51 + 13}\n</answer><|eot_id|>"
FILLER = "<reasoning>\n" + "We " * 60 + "\n</reasoning>\n<answer>\n\\boxed{99-51+13 = 61}\n</answer>"
WRONG = "<reasoning>\nWe add them all.\n</reasoning>\n<answer>\n\\boxed{99 + 51 - 13}\n</answer>"


def d1(texts: list[str], **changes: Any) -> dict[str, Any]:
    rows = [
        {
            "question": QUESTION,
            "prompt_input": f"<|start_header_id|>user<|end_header_id|>\n{QUESTION}",
            "generations": text,
            "ground_truth": [[99, 51, 13], 61],
            **changes,
        }
        for text in texts
    ]
    return {
        "generations": rows,
        "metrics": {"wall_time": 3.2, "total_processed": len(rows)},
        "model_path": "GSAI-ML/LLaDA-8B-Instruct",
        "gen_length": 256,
        "diffusion_steps": 128,
        "block_length": 32,
    }


def written(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=2))
    return path


def test_d1_countdown(tmp_path: Path) -> None:
    found = read_file(
        written(tmp_path, "countdown_base_256_128_0_generations.json", d1([CLEAN, FILLER, WRONG]))
    )
    assert (found.format, found.task) == ("d1 JSON", "countdown")
    assert [row.exact for row in found.generations] == [True, True, False]
    assert [row.trace_valid for row in found.generations] == [True, False, False]
    figures = summary(found)
    assert figures["exact"] == pytest.approx(2 / 3) and figures["junk"] == pytest.approx(1 / 3)
    assert figures["junk_given_correct"] == 0.5


def test_a_truth_may_stand_in_the_question(tmp_path: Path) -> None:
    found = read_file(written(tmp_path, "a.json", d1([CLEAN, WRONG], ground_truth=None)))
    assert found.task == "countdown" and [row.exact for row in found.generations] == [True, False]


def test_d1_sudoku_tells_cells_from_grids(tmp_path: Path) -> None:
    puzzle, solution = "1234341200004321", "1234341221434321"
    answer = "<answer>\n12343412 2144 4321\n</answer>"
    content = d1([answer, f"<answer>{solution}</answer>"], question=puzzle, ground_truth=solution)
    figures = summary(read_file(written(tmp_path, "sudoku_base_128_64_0_generations.json", content)))
    assert figures["exact"] == 0.5 and figures["cell"] == pytest.approx((0.75 + 1) / 2)


def test_d1_gsm8k(tmp_path: Path) -> None:
    content = d1(["<answer>\\boxed{1,234}</answer>", "so 12"], question="How many?", ground_truth=1234.0)
    assert summary(read_file(written(tmp_path, "gsm_x_generations.json", content)))["exact"] == 0.5


def test_256_generations_take_seconds(tmp_path: Path) -> None:
    long = CLEAN.replace("<reasoning>", "<reasoning>" + "we think about it again and again " * 100)
    path = written(tmp_path, "countdown_512.json", d1([long] * 256))
    begun = time.process_time()
    assert summary(read_file(path))["n"] == 256
    assert time.process_time() - begun < 5


LLADA = (
    "1, *<|mdm_mask|>&*<|mdm_mask|>&* is&*<|mdm_mask|>&\n"
    "2, *AI&*<|mdm_mask|>&* is&*<|mdm_mask|>&\n"
    "3, *AI&*,& * is&*<|mdm_mask|>&\n"
    "4, *AI&*,&* is&* &\n"
)


def test_llada_steps(tmp_path: Path) -> None:
    (generation,) = read_file(written(tmp_path, "sample_process.txt", LLADA)).generations
    assert generation.committed_at == [2, 3, 1, 4]
    assert generation.text == "AI, is "
    assert generation.steps[0] == (1, ["", "", " is", ""])
    assert generation.exact is None


def test_a_step_of_one_begins_another_trajectory(tmp_path: Path) -> None:
    found = read_file(written(tmp_path, "two.txt", LLADA + LLADA))
    assert [row.text for row in found.generations] == ["AI, is "] * 2


def test_llada_on_countdown_as_d1_kept_it() -> None:
    (paths,) = evaluations(REAL_D1)
    found = read_evaluation(paths)
    figures = summary(found)
    assert figures["file"] == "countdown_instruct_128_64_*_generations.json"
    assert (figures["n"], figures["task"]) == (256, "countdown")
    assert (figures["exact"], figures["junk"]) == (54 / 256, 0.0)
    solved = [row for row in found.generations if row.exact]
    assert "Numbers: [52, 68, 27]\nTarget: 11" not in [row.prompt for row in solved]
    assert "Numbers: [57, 96, 38]\nTarget: 77" in [row.prompt for row in solved]


def test_files_that_differ_in_more_than_the_gpu_are_evaluations_of_their_own() -> None:
    names = ["countdown_base_128_64_0", "countdown_base_256_64_0", "countdown_base_128_64_1", "sudoku"]
    groups = evaluations([Path("/x") / f"{name}_generations.json" for name in names])
    assert [len(group.paths) for group in groups] == [2, 1, 1]


def test_a_trajectory_as_llada_wrote_it() -> None:
    (generation,) = read_file(DATA / "llada_sample_process.txt").generations
    assert generation.text.startswith(
        "Artificial intelligence (AI) refers to the technology used in computer systems"
    )
    assert sorted(generation.committed_at) == list(range(1, 65))
    assert generation.steps[0][1].index(",") == 26


def real(**changes: Any) -> str:
    content = json.loads(REAL_D1[0].read_text())
    content["generations"][1].update(changes)
    return json.dumps(content, indent=2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (REAL_D1[0].read_text()[:9000], "line 137: it is no JSON (unterminated string"),
        (REAL_D1[0].read_text().replace('"generations": [', '"outputs": ['), """line 1: there is no list "generations", only 'outputs'"""),
        (REAL_D1[0].read_text().replace("        51\n", "        " + "9" * 5000, 1), "line 12: it holds a number of more than"),
        (real(ground_truth=[[1e400, 2, 3], 4]), "line 15: generation 2 has a ground_truth that is not [numbers, target]"),
        (real(ground_truth=[[1.5, 2, 3], 4]), "line 15: generation 2 has a ground_truth that is not [numbers, target]"),
        (real(ground_truth=None, question=f"Numbers: [{'9' * 5000}, 1]\nTarget: 4"), "line 15: generation 2 has neither"),
        (real(ground_truth=None, question="Numbers: [1, 2 3,]\nTarget: 4"), "line 15: generation 2 has neither"),
        (real(generations="1+" * 60_000), "line 15: generation 2 is longer than 100,000 characters"),
    ],
)  # fmt: skip
def test_a_real_file_that_was_damaged(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(UserError, match="imported") as caught:
        read_file(written(tmp_path, "countdown.json", content))
    assert caught.value.message.startswith(f"countdown.json, {said}")


def test_an_answer_of_thousands_of_digits_is_wrong(tmp_path: Path) -> None:
    for answer in (
        r"\boxed{" + "9" * 5000 + "}",
        r"\boxed{" + "(" * 5000 + "1" + ")" * 5000 + "}",
        "1+" * 40_000,
    ):
        found = read_file(written(tmp_path, "countdown.json", real(generations=answer)))
        assert found.generations[1].exact is False


def test_half_a_character_can_be_kept(tmp_path: Path) -> None:
    found = read_file(written(tmp_path, "countdown.json", real(generations="\ud83d hi")))
    assert pa.array([found.generations[1].text]).to_pylist() == ["? hi"]


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    text = "\ufeff" + REAL_D1[0].read_text()
    assert summary(read_file(written(tmp_path, "countdown.json", text)))["n"] == 37


def broken_row(number: int, **changes: Any) -> str:
    content = d1([CLEAN, CLEAN, CLEAN])
    content["generations"][number].update(changes)
    return json.dumps(content, indent=2)


def line_of(text: str, needle: str, nth: int) -> int:
    place = -1
    for _ in range(nth):
        place = text.index(needle, place + 1)
    return text.count("\n", 0, place) + 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "a.json",
            '{"generations": [\n{"question": "x",\n "generations": }\n]}',
            "a.json, line 3: it is no JSON",
        ),
        ("a.json", '{"rows": []}', 'a.json, line 1: there is no list "generations"'),
        ("a.json", '{"generations": []}', "a.json, line 1: it holds no generations"),
        ("a.txt", LLADA.replace("3, *AI", "three, *AI"), "a.txt, line 3: it does not begin with a step"),
        ("a.txt", LLADA.replace("3, *AI&", "3, AI "), "a.txt, line 3: its tokens are not written"),
        ("a.txt", LLADA.replace("* &", ""), "a.txt, line 4: 3 tokens follow 4"),
        ("a.txt", LLADA.replace("4, ", "6, "), "a.txt, line 4: step 6 follows step 3"),
        ("a.csv", "x", "ends in none of"),
    ],
)
def test_the_line_of_what_is_malformed_is_named(tmp_path: Path, name: str, content: str, said: str) -> None:
    with pytest.raises(UserError, match="imported") as caught:
        read_file(written(tmp_path, name, content))
    assert said in caught.value.message


def test_the_line_of_a_bad_generation_is_named(tmp_path: Path) -> None:
    for changes, problem in (
        ({"generations": 3}, 'has no text under "generations"'),
        ({"ground_truth": [["a"], 1]}, "has a ground_truth that is not [numbers, target]"),
        (
            {"ground_truth": None, "question": "?"},
            'has neither a ground_truth [numbers, target] nor "Numbers',
        ),
    ):
        text = broken_row(1, **changes)
        line = line_of(text, '{\n      "question"', 2)
        with pytest.raises(UserError) as caught:
            read_file(written(tmp_path, "countdown.json", text))
        assert f"countdown.json, line {line}: generation 2 {problem}" in caught.value.message


def test_what_is_no_text_or_parquet_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{\n"generations": "\xff"}')
    with pytest.raises(UserError, match="line 2: it is not UTF-8"):
        read_file(tmp_path / "a.json")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(UserError, match="no readable Parquet"):
        read_file(tmp_path / "b.parquet")
    with pytest.raises(UserError, match="no file on this machine"):
        read_file(tmp_path / "c.json")


def test_the_answer_of_a_trajectory_has_a_lead(tmp_path: Path) -> None:
    steps = (
        "1, *<|mdm_mask|>&* <answer>&*<|mdm_mask|>&*</answer>&\n",
        "2, *<|mdm_mask|>&* <answer>&* 61&*</answer>&\n",
    )
    text = "".join(steps) + "3, *since&* <answer>&* 61&*</answer>&\n"
    (generation,) = read_file(written(tmp_path, "a.txt", text)).generations
    assert generation.answer_positions == [2]
