"""The UCI recipes, rule by rule, on small raw files with known contents; and what becomes of wrong ones."""

import gzip

import numpy as np
import pytest
import torch

from lib import datasets, preprocess
from lib.datasets import DataError

POWER = "Date Time Global_active_power Global_reactive_power Voltage Global_intensity".split()
POWER += [f"Sub_metering_{i}" for i in (1, 2, 3)]


def write_power(raw, n=60):
    """The rows without gaps: [active power, reactive power, voltage, intensity, three sub-meters, minute]."""
    random = np.random.RandomState(0)
    x = np.column_stack([random.uniform(0, 9, (n, 4)).round(3), random.randint(0, 30, (n, 3)), 61 + 7 * np.arange(n)])
    lines = [";".join(POWER)]
    for row in x:
        clock = f"{int(row[7]) // 60:02}:{int(row[7]) % 60:02}:00"
        lines.append(f"16/12/2006;{clock};" + ";".join(map(str, row[:7])))
        lines.append(f"17/12/2006;{clock};?;?;?;?;?;?;")
    (raw / "household_power_consumption.txt").write_text("\n".join(lines) + "\n")
    return x


def write_gas(raw, n=400):
    """The sixteen sensors; 0 nearly repeats 3, the chain 5-6-7 only neighbours, 9 is the negative of 8."""
    x = np.random.RandomState(0).standard_normal((n, 19))
    s = x[:, 3:]
    s[:, 3] = s[:, 0] + 0.01 * s[:, 3]
    s[:, 6] = s[:, 5] + 0.17 * s[:, 6]  # correlation 0.986, of 5 with 7 0.97
    s[:, 7] = s[:, 6] + 0.17 * s[:, 7]
    s[:, 9] = -s[:, 8]
    x[:, 0] = np.arange(n)
    correlation = np.corrcoef(s.T)
    assert min(correlation[5, 6], correlation[6, 7]) > 0.982 and correlation[5, 7] < 0.978
    lines = ["Time (seconds), CO conc (ppm), Ethylene conc (ppm), sensor readings (16 channels)"]
    lines += ["  ".join(f"{value:.6f}" for value in row) for row in x]
    (raw / "ethylene_CO.txt").write_text("\n".join(lines) + "\n")
    return s.round(6)


def write_hepmass(raw, compress=False):
    """Training and test features of class 1, those of the training file's extra column apart. Feature 1 is discrete."""
    random, parts = np.random.RandomState(0), {}
    for split, n, extra in [("train", 80, 0), ("test", 40, 1)]:
        x = random.standard_normal((n, 5 + extra)).round(6)
        label = np.arange(n) % 2
        ones = np.flatnonzero(label)
        x[ones[:6], 1] = -9
        x[ones[:5], 3] = -9  # five times are allowed
        x[ones[:20], 4] = 9  # so is any number of largest values
        lines = ["# label," + ",".join(f"f{i}" for i in range(5))]  # the header does not name the extra column
        lines += [",".join(map(str, [float(c), *row])) for c, row in zip(label, x.tolist(), strict=True)]
        lines += ["1.0" + ",77" * (5 + extra)] * 3  # beyond the rows that are used
        content = ("\n".join(lines) + "\n").encode()
        name = f"1000_{split}.csv"
        (raw / (name + ".gz" if compress else name)).write_bytes(gzip.compress(content) if compress else content)
        parts[split] = x[ones][:, [0, 2, 3, 4]]
    return parts


def write_miniboone(raw, signal=105):
    """The signal rows without the five outliers; features 2 and 4 are discrete and left out."""
    x = np.random.RandomState(0).standard_normal((signal + 50, 6)).round(5)
    x[:signal:21, 0] = -999
    x[10:16, 2] = -9
    x[10:16, 4] = -999
    x[10:15, 5] = -9
    lines = [f"  {signal}  50", *("  ".join(map(str, row)) for row in x.tolist())]
    (raw / "MiniBooNE_PID.txt").write_text("\n".join(lines) + "\n")
    kept = x[:signal]
    return kept[kept[:, 0] > -100][:, [0, 1, 3, 5]]


WRITERS = {"power": write_power, "gas": write_gas, "hepmass": write_hepmass, "miniboone": write_miniboone}
SHAPES = {"power": (49, 5, 6, 6), "gas": (81, 9, 10, 13), "hepmass": (36, 4, 20, 4), "miniboone": (81, 9, 10, 4)}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(preprocess, "SHAPES", SHAPES)
    monkeypatch.setattr(preprocess, "HEPMASS_ROWS", {"train": 80, "test": 40})
    monkeypatch.delenv("MISSVAE_DATA", raising=False)


@pytest.fixture
def raw(tmp_path):
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def made(name, raw, tmp_path):
    arrays = []
    for path in preprocess.run(name, raw, tmp_path / "out"):
        with np.load(path) as archive:
            assert archive.files == ["arr_0"] and archive["arr_0"].dtype == np.float64
            arrays.append(archive["arr_0"])
    return arrays


def standardised(train, val, test, rows, ddof=0):
    mean, scale = rows.mean(0), rows.std(0, ddof=ddof)
    return [(x - mean) / scale for x in (train, val, test)]


def agree(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-9)


def test_power_is_shuffled_and_noised_by_the_known_seed(raw, tmp_path):
    x = write_power(raw)
    random = np.random.RandomState(42)
    order = np.arange(60)
    random.shuffle(order)
    x = x[order][:, [0, 2, 4, 5, 6, 7]]
    x[:, 1] += 0.01 * random.random_sample(60)
    x[:, 0] += 0.001 * random.random_sample(60)
    x[:, 2:5] += random.random_sample((60, 3))
    agree(made("power", raw, tmp_path), standardised(x[:49], x[49:54], x[54:], rows=x[:54]))


def test_gas_is_a_quarter_without_sensors_that_nearly_repeat_others(raw, tmp_path):
    s = write_gas(raw)
    found = np.concatenate(made("gas", raw, tmp_path))
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-12)  # of all rows
    np.testing.assert_allclose(found.std(0, ddof=1), 1, atol=1e-12)
    kept = [1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    rows = np.random.RandomState(0).choice(len(s), 100, replace=False)  # what pandas does with this seed
    quarter = s[np.sort(rows)][:, kept]  # in the order of time
    agree([found], [(quarter - quarter.mean(0)) / quarter.std(0, ddof=1)])


@pytest.mark.parametrize("compress", [False, True])
def test_hepmass_keeps_class_1_and_continuous_features(raw, tmp_path, compress):
    parts = write_hepmass(raw, compress)
    train, test = parts["train"], parts["test"]
    agree(made("hepmass", raw, tmp_path), standardised(train[:-4], train[-4:], test, rows=train, ddof=1))


def test_miniboone_keeps_signal_without_outliers_and_continuous_features(raw, tmp_path):
    x = write_miniboone(raw)
    agree(made("miniboone", raw, tmp_path), standardised(x[:81], x[81:90], x[90:], rows=x[:90]))


@pytest.mark.parametrize("name", WRITERS)
def test_what_was_made_can_be_loaded_and_is_kept(name, raw, tmp_path, monkeypatch, capsys):
    WRITERS[name](raw)
    paths = preprocess.run(name, raw, tmp_path / "out")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [name]
    data = datasets.load(name, "prepared", folder=tmp_path / "out")
    assert (*map(len, (data.train, data.val, data.test)), data.train.shape[1]) == SHAPES[name]
    assert data.source == "prepared" and data.train.dtype == torch.float32
    monkeypatch.setitem(preprocess.RECIPES, name, None)  # not needed any more
    assert preprocess.run(name, raw, tmp_path / "out") == paths
    assert "already there and intact" in capsys.readouterr().err
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}
    monkeypatch.setitem(preprocess.RECIPES, name, getattr(preprocess, name))
    again = preprocess.run(name, raw, tmp_path / "other")
    assert [path.read_bytes() for path in again] == [before[path][0] for path in paths]


def test_prepared_data_that_were_damaged(raw, tmp_path):
    write_miniboone(raw)
    path = preprocess.run("miniboone", raw, tmp_path)[1]
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="val.npz has the wrong content: expected SHA-256"):
        datasets.load("miniboone", "prepared", folder=tmp_path)
    with pytest.raises(DataError, match="or is damaged.*it was left alone"):
        preprocess.run("miniboone", raw, tmp_path)
    assert path.read_bytes() == content


def test_files_of_another_source_are_not_overwritten(raw, tmp_path):
    write_miniboone(raw)
    (tmp_path / "miniboone").mkdir()
    official = tmp_path / "miniboone" / "train.npz"
    official.write_bytes(b"of the authors")
    with pytest.raises(DataError, match="is not what was prepared here"):
        preprocess.run("miniboone", raw, tmp_path)
    assert official.read_bytes() == b"of the authors"
    with pytest.raises(DataError, match="SHA256SUMS: cannot read the hashes of prepared data.*preprocess.run"):
        datasets.load("miniboone", "prepared", folder=tmp_path)


def test_prepared_data_need_a_folder():
    with pytest.raises(DataError, match="power: no folder with prepared data is known.*set MISSVAE_DATA"):
        datasets.load("power", "prepared")


def cut(path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-20]))


def garble(path):
    path.write_text(path.read_text().replace("1", "x"))


def empty(path):
    path.write_text("")


def unlink(path):
    path.unlink()


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (unlink, "no such file. Unpack the data set of the UCI archive"),
        (empty, "cannot be read|holds no rows"),
        (garble, "cannot be read"),
        (cut, "rows of .* expected .*Nothing was written"),
    ],
)
def test_wrong_raw_files_are_refused_and_nothing_is_written(name, spoil, message, raw, tmp_path):
    WRITERS[name](raw)
    for path in raw.iterdir():
        if name == "miniboone" and spoil is cut:  # the background rows stand last, and are not used
            path.write_text(path.read_text().replace("  105  50\n", "  85  70\n"))
        else:
            spoil(path)
    with pytest.raises(DataError, match=message):
        preprocess.run(name, raw, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_broken_archive_is_refused(raw, tmp_path):
    write_hepmass(raw, compress=True)
    path = raw / "1000_test.csv.gz"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match="1000_test.csv.gz: cannot be read"):
        preprocess.run("hepmass", raw, tmp_path / "out")


def test_hepmass_files_must_fit_each_other(raw, tmp_path):
    write_hepmass(raw)
    path = raw / "1000_test.csv"
    path.write_text("\n".join(line.rsplit(",", 2)[0] for line in path.read_text().splitlines()) + "\n")
    with pytest.raises(DataError, match="5 features in 1000_train.csv, 4 in 1000_test.csv"):
        preprocess.run("hepmass", raw, tmp_path / "out")


def test_miniboone_needs_its_line_of_counts(raw, tmp_path):
    write_miniboone(raw)
    path = raw / "MiniBooNE_PID.txt"
    path.write_text(path.read_text().replace("  105  50\n", "  1  2  3\n"))
    with pytest.raises(DataError, match="first line should hold two numbers"):
        preprocess.run("miniboone", raw, tmp_path / "out")


def test_values_that_are_not_finite_are_refused(raw, tmp_path):
    write_miniboone(raw)
    path = raw / "MiniBooNE_PID.txt"
    lines = path.read_text().splitlines()
    lines[5] = lines[5].rsplit("  ", 1)[0] + "  inf"
    path.write_text("\n".join(lines) + "\n")
    with np.errstate(invalid="ignore"), pytest.raises(DataError, match="values that are not finite"):
        preprocess.run("miniboone", raw, tmp_path / "out")


def test_a_folder_that_cannot_be_written_and_an_unknown_name(raw, tmp_path):
    write_miniboone(raw)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="cannot write .*file/miniboone.*choose another folder"):
        preprocess.run("miniboone", raw, tmp_path / "file")
    with pytest.raises(ValueError, match="unknown table 'minibone'. Did you mean miniboone"):
        preprocess.run("minibone", raw, tmp_path / "out")
