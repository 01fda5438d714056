"""The command line, called in-process: what it prints, what it saves, and how it refuses."""

import sys

import numpy as np
import pytest

from ssm import datasets
from ssm.__main__ import main
from ssm.commands.reading import InputError, read

TINY = ["--restarts", "2", "--iterations", "3", "--states", "2"]
LETTERS = "the quick brown fox jumps over the lazy dog and runs away again "


def write(path, content):
    """A file with this content; bytes as they are, text as UTF-8."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(capsys, arguments):
    """The one line on stderr of a command that must end with status 2."""
    try:
        status = main(arguments)
    except SystemExit as error:
        status = error.code
    lines = capsys.readouterr().err.splitlines()
    assert (status, len(lines)) == (2, 1)
    return lines[0]


def table_rows(printed):
    """Lines between the rule under the heading and the blank line after the table."""
    lines = printed.splitlines()
    return lines[2 : lines.index("")]


@pytest.mark.parametrize(
    ("name", "content"), [("words.txt", LETTERS * 4), ("series.csv", "a,b\n" + "1,2\n,3\n2.5,\n4,1\n" * 8)]
)
def test_own_data_give_one_row_per_method_and_a_figure(tmp_path, capsys, name, content):
    out = tmp_path / "curves.png"
    assert main(["compare", "--data", str(write(tmp_path / name, content)), "--out", str(out), *TINY]) == 0
    rows = table_rows(capsys.readouterr().out)
    assert [row.split("  ")[0].split(":")[0] for row in rows] == [name, name]
    assert "EM" in rows[0] and "SGD" in rows[1]
    for row in rows:
        train, held_out, iterations, compile_seconds, seconds = map(float, row.split()[-5:])
        assert np.isfinite([train, held_out]).all()
        assert iterations == 2 * 3  # two starts, three iterations each
        assert compile_seconds >= 0 and seconds > 0
    assert out.read_bytes().startswith(b"\x89PNG")


def test_both_methods_improve_and_the_seed_decides(tmp_path, capsys):
    data = write(tmp_path / "words.txt", LETTERS * 4)

    def trained(iterations, seed):
        size = ["--states", "2", "--restarts", "1", "--iterations", iterations, "--seed", seed]
        main(["compare", "--data", str(data), "--out", str(tmp_path / "c.svg"), *size])
        return [float(row.split()[-5]) for row in table_rows(capsys.readouterr().out)]

    few, many = trained("1", "3"), trained("12", "3")
    assert all(later > earlier for later, earlier in zip(many, few, strict=True))
    assert trained("1", "3") == few
    assert trained("1", "4") != few


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("empty.txt", "", "the file is empty"),
        ("blank.csv", "\n \n", "the file is empty"),
        ("digits.txt", "12345 67890", "no letters"),
        ("latin.txt", "déjà vu".encode("latin-1"), "not UTF-8"),
        ("words.csv", "a,b\nx,y\nz,w\n", "no column of numbers"),
        ("ragged.csv", "a,b\n1,2\n3\n", "line 3 has 1 columns, line 1 has 2"),
        ("infinite.csv", "a\n1\ninf\n2\n", "line 3, column a: an infinite number"),
        ("bad.csv", "a,b\n" + "1,2\n2,1\n" * 20 + "3,4x\n", "line 42, column b: expected a number, or nothing"),
        ("thousands.csv", 'a,b\n"1,234",2\n5,1\n6,7\n', "line 2, column a: expected a number"),
        ("dots.csv", "a;b\n1,5;2\n1.234;1\n6;7\n", "line 3, column a: expected a number"),
        ("constant.csv", "a\n" + "7\n" * 40, "constant"),
        ("hollow.csv", "a,b\n" + "1,\n2,\n" * 20 + "1,5\n", "fewer than two values"),
        ("tail.csv", "a,b\n" + "1,2\n2,1\n" * 20 + ",\n,\n" * 10, "nothing is observed in the last"),
        ("short.txt", "too short", "9 observations; at least 20"),
        ("table.xlsx", "1,2", "ends in .txt (text) or .csv"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_and_status_2(tmp_path, capsys, name, content, expected):
    path = write(tmp_path / name, content)
    line = refused(capsys, ["compare", "--data", str(path), "--out", str(tmp_path / "c.png")])
    assert expected in line
    assert name in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "required: command"),
        (["compara"], "invalid choice: 'compara'"),
        (["compare", "--stats", "3"], "unrecognized arguments: --stats"),
        (["compare", "--states", "0"], "--states: expected an integer of at least 1, got '0'"),
        (["compare", "--restarts", "two"], "--restarts: expected an integer of at least 1, got 'two'"),
        (["compare", "--iterations", "-1"], "at least 1, got '-1'"),
        (["compare", "--seed", "-1"], "at least 0, got '-1'"),
        (["compare", "--data", "no/such/file.txt"], "no/such/file.txt: No such file or directory"),
        (["compare", "--out", "curves.docx"], "--out curves.docx: a figure's name ends in one of"),
        (["compare", "--out", "no/such/folder/c.png"], "there is no folder no/such/folder"),
        (["compare", "--states", "300"], "--states 300: more than the 162 observations"),
    ],
)
def test_options_that_make_no_sense_are_one_line_and_status_2(capsys, arguments, expected):
    assert expected in refused(capsys, arguments)


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"]])
def test_help_is_everywhere(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0
    assert "compare" in capsys.readouterr().out


@pytest.mark.parametrize("module", ["matplotlib.figure", "statsmodels.datasets.macrodata"])
def test_a_missing_extra_names_the_command_that_installs_it(capsys, monkeypatch, module):
    package = module.split(".")[0]
    for name in [package, *(loaded for loaded in sys.modules if loaded.startswith(package + "."))]:
        monkeypatch.setitem(sys.modules, name, None)
    assert 'pip install -e ".[demo]"' in refused(capsys, ["compare"])


def test_a_table_keeps_its_numeric_columns_and_its_gaps(tmp_path):
    data = read(write(tmp_path / "t.csv", "date,a,note,b\n2001-01,1.5,x,\n2001-02,NA,y,-2\n\n2001-03,3,,4e1\n"))
    np.testing.assert_array_equal(data.ys, [[1.5, np.nan], [np.nan, -2], [3, 40]])
    assert data.name == "t.csv: a, b"


def test_a_table_may_have_no_header(tmp_path):
    np.testing.assert_array_equal(read(write(tmp_path / "t.csv", "1,2\n3,4\n")).ys, [[1, 2], [3, 4]])


def test_a_line_without_values_is_a_time_step_without_values(tmp_path):
    np.testing.assert_array_equal(read(write(tmp_path / "t.csv", "\na\n1\n\n3\n\n")).ys, [[1], [np.nan], [3]])
    np.testing.assert_array_equal(read(write(tmp_path / "t.csv", "1,2\n,\n3,4\n")).ys, [[1, 2], [np.nan] * 2, [3, 4]])


@pytest.mark.parametrize(
    ("content", "names", "values", "about"),
    [
        ("date;a;b\n31.01.2001;1,5;2\n28.02.2001;;3\n31.03.2001;-,5;5\n", "a, b", [[1.5, 2], [np.nan, 3], [-0.5, 5]],
         "columns used: a, b (decimal commas); index: date; empty cells, taken for missing: 1 of 6"),
        ("a;b\n1.5;2\n3;1\n", "a, b", [[1.5, 2], [3, 1]], "columns used: a, b"),
        ("a\tb\n1.5\t2,5\n3\t1\n", "b", None, ""),
        (",a\n0,5\n1,3\n2,4\n", "a", [[5], [3], [4]], "columns used: a; index: unnamed column 1"),
        ("year,a\n1990,5\n1991,3\n1995,4\n", "a", [[5], [3], [4]], "index: year"),
        ("level,a\n1990,5\n1991,3\n1995,4\n", "level, a", [[1990, 5], [1991, 3], [1995, 4]], "used: level, a"),
        ("s,a\n0.1,5\n0.2,3\n0.3,4\n", "a", [[5], [3], [4]], "index: s"),
        ("a\n1\n2\n3\n", "a", [[1], [2], [3]], "columns used: a"),
        ("q,a,x,y\n2001Q1,5,one,\n2001Q2,3,two,\n2001Q3,4,3,\n", "a", [[5], [3], [4]],
         "index: q; left out, as they are text: x; left out, as they are empty: y"),
        ("NA,NA\n1,2\n5,4\n", "column 1, column 2", [[np.nan] * 2, [1, 2], [5, 4]], "missing: 2 of 6"),
        ("a,a\n1,2\n5,4\n", "a, a", [[1, 2], [5, 4]], "used: a, a"),
    ],
)  # fmt: skip
def test_what_is_an_index_is_no_data_and_what_was_used_is_said(tmp_path, content, names, values, about):
    if values is None:  # a decimal comma beside tabs makes a point in the same table a mistake
        with pytest.raises(InputError, match=r"line 2, column a: expected a number"):
            read(write(tmp_path / "t.csv", content))
        return
    data = read(write(tmp_path / "t.csv", content))
    np.testing.assert_array_equal(data.ys, values)
    assert data.name == f"t.csv: {names}"
    assert about in data.about


def test_what_was_used_is_printed(tmp_path, capsys):
    lines = "".join(f"2001-01-{day:02};{day % 5},5;{'x' * day}\n" for day in range(1, 32))
    path = write(tmp_path / "t.csv", "day;a;note\n" + lines)
    assert main(["compare", "--data", str(path), "--out", str(tmp_path / "c.png"), *TINY]) == 0
    said = "t.csv: columns used: a (decimal commas); index: day; left out, as they are text: note."
    assert said in capsys.readouterr().out.splitlines()


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    assert read(write(tmp_path / "t.csv", "\ufeffa\n1\n2\n")).name == "t.csv: a"


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(InputError, match="folder.txt: Is a directory"):
        read(tmp_path / "folder.txt")


def test_letters_fold_case_accents_and_runs_of_other_characters():
    symbols = datasets.letters("  Déjà-vu,\n42 Zebras! ")
    assert "".join(datasets.ALPHABET[s] for s in symbols) == "deja vu zebras"


def test_the_default_data_are_what_they_say():
    text = datasets.letters(datasets.english_text())
    # The order of English print: spaces, then e, then t.
    counts = np.bincount(text, minlength=27)
    assert len(text) > 100_000
    assert [datasets.ALPHABET[i] for i in np.argsort(-counts)[:3]] == [" ", "e", "t"]
    assert datasets.macro().shape == (202, len(datasets.MACRO_COLUMNS))
    assert np.isfinite(datasets.macro()).all()
    # Durbin & Koopman 2012: the first flows, 1871 and 1872, are 1120 and 1160.
    np.testing.assert_array_equal(datasets.nile()[:2], [1120, 1160])
    assert datasets.nile().shape == (100,)
