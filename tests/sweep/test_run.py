"""The whole way, called from Python."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from builders import small_settings

from scalesweep.errors import Refused, SpecError
from scalesweep.points.metric import METRICS
from scalesweep.report import Pictures
from scalesweep.run.store.measured import read_measured
from scalesweep.run.store.store import Store
from scalesweep.settings.settings import Settings, with_values
from scalesweep.sweep.context import report_context
from scalesweep.sweep.run import Swept, Wanted, run_sweep


def test_a_sweep_runs_from_python_and_goes_on(home: Path, tmp_path: Path) -> None:
    said: list[str] = []
    warned: list[str] = []
    settings = small_settings(home).model_copy(update={"dir": str(tmp_path / "sweep")})
    done = run_sweep(settings, said.append, warned.append)
    assert set(done.measured.states.values()) == {"COMPLETE"}
    assert done.num_lacking == 0
    assert isinstance(done.fit, Refused) == (done.page is None)
    records = dict(done.measured.records)
    longer = with_values(settings, {"sweep.budgets": [4096, 8192, 16384]})
    again = run_sweep(longer, said.append, warned.append)
    assert len(again.measured.states) == 6
    assert {key: again.measured.records[key] for key in records} == records
    assert any("4 measured before, 2 new" in line for line in said)


def test_what_has_not_changed_is_said_again_and_not_made_again(home: Path, tmp_path: Path) -> None:
    told: list[Swept] = []
    settings = small_settings(home).model_copy(update={"dir": str(tmp_path / "sweep")})
    settings = with_values(settings, {"sweep.sizes": ["10k", "20k", "30k"], "fit.bootstrap": 0})

    def tell(swept: Swept) -> str:
        told.append(swept)
        return f"the words of call {len(told)}"

    def run(wanted: Settings = settings, pictures: Pictures = "none") -> tuple[Swept, str]:
        said: list[str] = []
        return run_sweep(wanted, said.append, said.append, wanted=Wanted(pictures, tell=tell)), said[-1]

    first, _ = run()
    again, words = run()
    assert len(told) == 1
    assert words == "the words of call 1"
    assert first.page is not None
    assert (again.page, again.fit, again.num_lacking) == (first.page, None, 0)
    page, curve = first.page, next(first.measured.directory.glob("cells/*/curve.jsonl"))
    run(with_values(settings, {"fit.confidence": 0.8}))
    assert len(told) == 2
    run(pictures="png")
    assert len(told) == 3
    run()
    assert len(told) == 4
    for path in (page, curve, first.measured.directory / "concluded.json"):
        before = len(told)
        path.write_bytes(path.read_bytes().replace(b"1", b"2"))
        run()
        assert len(told) == before + 1
    page.unlink()
    assert run()[0].page == page
    assert page.is_file()


def test_the_loss_of_a_sweep_is_turned_into_the_unit_that_is_asked_for(reviewed_store: Store) -> None:
    measured = read_measured(Store(reviewed_store.directory))
    counts = {name: measured.settings.count.model_copy(update={"loss": name}) for name in METRICS}
    nats = measured.points().loss
    sizes = np.array([record["bytes_per_token"] for record in measured.records.values() if record["state"] == "COMPLETE"])
    np.testing.assert_array_equal(measured.points(counts["nats_per_token"]).loss, nats)
    np.testing.assert_allclose(measured.points(counts["bits_per_token"]).loss, nats / np.log(2))
    np.testing.assert_allclose(measured.points(counts["bits_per_byte"]).loss, nats / np.log(2) / sizes)
    perplexity = measured.points(counts["perplexity"])
    np.testing.assert_array_equal(perplexity.loss, nats)
    assert perplexity.metric.noun == "log perplexity"
    with pytest.raises(SpecError, match=r"count\.loss = 'accuracy'.*cross-entropy"):
        measured.points(counts["accuracy"])


def test_what_was_read_once_needs_the_directory_no_more(reviewed_store: Store, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(reviewed_store.directory, tmp_path / "sweep"))
    measured = read_measured(Store(copy))
    expected = report_context(read_measured(Store(copy)), measured.settings, "command"), measured.points().frame
    shutil.rmtree(copy)
    fresh = dataclasses.replace(measured)  # without what the first use has derived
    context, frame = report_context(fresh, fresh.settings, "command"), fresh.points().frame
    assert context == expected[0]
    assert frame.equals(expected[1])
    assert set(context.curves) == set(measured.records)
