import os
import shutil
from pathlib import Path

import pytest

from scalesweep.cli import main
from scalesweep.run.store.store import Store
from scalesweep.sweep.spikes import find_all


@pytest.fixture
def store(reviewed_store: Store, tmp_path: Path) -> Store:
    return Store(Path(shutil.copytree(reviewed_store.directory, tmp_path / "sweep")))


def test_each_curve_is_looked_at_once(store: Store) -> None:
    keys = [key for key in store.plan_file.keys() if store.curve_file(key).is_file()]
    first = find_all(store, keys, most=2)
    assert (len(first.by_key), first.unseen) == (2, len(keys) - 2)
    assert find_all(store, keys, most=0) == first
    whole = find_all(store, keys)
    assert set(whole.by_key) == set(keys)
    assert find_all(store, keys, most=0) == whole
    assert whole == find_all(Store(store.directory), keys)


def test_a_changed_curve_or_index_is_seen(store: Store) -> None:
    keys = [key for key in store.plan_file.keys() if store.curve_file(key).is_file()]
    whole = find_all(store, keys)
    os.utime(store.curve_file(keys[0]), (1, 1))
    assert find_all(store, keys, most=0).unseen == 1
    index = store.directory / "health.json"
    index.write_text(index.read_text().replace("[", "[7, ", 1))
    assert find_all(store, keys, most=0).unseen == len(keys)
    assert find_all(store, keys) == whole


def test_status_says_how_many_it_has_not_looked_at(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("scalesweep.cli.status.MOST_CURVES", 1)
    words = ["status", str(store.directory)]
    main(words)
    assert "not yet looked at for spikes" in capsys.readouterr().out
    main([*words, "--health"])
    assert "not yet looked at" not in capsys.readouterr().out
    main(words)
    assert "not yet looked at" not in capsys.readouterr().out
