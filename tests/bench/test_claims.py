"""Claims: one holder at a time, in any number of processes, and none after the holder's death."""

import multiprocessing
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from thresher.bench import claims as claims_file
from thresher.bench.claims import ClaimError, Claims

HOLDER = """
import sys, time
from pathlib import Path
from thresher.bench.claims import Claims
claims = Claims(Path(sys.argv[1]))
assert claims.take("a")
print("taken", flush=True)
time.sleep(600)
"""


def test_a_claim_has_one_holder(tmp_path: Path) -> None:
    first, second = Claims(tmp_path / "claims"), Claims(tmp_path / "claims")
    assert first.take("a")
    assert not first.take("a")
    assert not second.take("a")
    assert second.take("b")
    first.release("a")
    first.release("never held")
    assert second.take("a")
    second.release_all()
    assert first.take("a")
    assert first.take("b")
    first.release_all()


def test_a_claim_goes_with_its_holder_even_by_kill_9(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "taken\n"
        assert not claims.take("a")
        others = claims.of_others()
        assert others["a"]["process"] == holder.pid
        assert list(others) == ["a"]
        holder.send_signal(signal.SIGKILL)
    assert claims.of_others() == {}
    assert claims.take("a")
    claims.release_all()


def test_nothing_is_left_of_claims_that_were_given_back(tmp_path: Path) -> None:
    claims = Claims(tmp_path)
    assert claims.take("a")
    claims.release("a")
    assert list(tmp_path.iterdir()) == []


def take_and_count(folder: Path, counted: Path, rounds: int) -> None:
    claims = Claims(folder)
    while rounds:
        if claims.take("a"):
            rounds -= 1
            # Not atomic: two holders at once would lose a count, and see each other's file.
            with counted.with_suffix(".alone").open("x"):
                number = int(counted.read_text())
                counted.write_text(str(number + 1))
            counted.with_suffix(".alone").unlink()
            claims.release("a")


def test_claims_that_are_given_back_and_taken_all_the_time_have_one_holder(tmp_path: Path) -> None:
    counted = tmp_path / "counted"
    counted.write_text("0")
    context = multiprocessing.get_context("spawn")
    arguments = (tmp_path / "claims", counted, 300)
    processes = [context.Process(target=take_and_count, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert int(counted.read_text()) == 3 * 300


def test_a_disk_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    assert claims_file.fcntl is not None
    monkeypatch.setattr(claims_file.fcntl, "flock", refuse)
    with pytest.raises(ClaimError, match=r"cannot be locked \(Operation not supported\).*--out"):
        Claims(tmp_path).take("a")
