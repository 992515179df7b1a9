"""Methods with settings on the command line."""

from __future__ import annotations

import pytest

from thresher import Omission, RePB
from thresher.bench.catalogue import UnknownNameError, build_method, require_method
from thresher.bench.spelling import base_name, settings_of
from thresher.bench.suite import asked_rows
from thresher.errors import SettingError
from thresher.windows import Importance


def test_settings_are_literals_words_and_switches() -> None:
    text = "repb(window=8, resample=False, rescale=true, rho=none)"
    assert settings_of(text) == {"window": 8, "resample": False, "rescale": True, "rho": None}
    assert base_name(text) == "repb"
    assert settings_of("omission-systematic") == {}
    assert settings_of("x(sampling=bernoulli, other='two words')") == {
        "sampling": "bernoulli",
        "other": "two words",
    }


def test_a_method_with_settings_is_built_with_them() -> None:
    assert build_method("repb(window=8)", 0.3) == RePB(prune_ratio=0.3, window=8)
    expected = Omission(prune_ratio=0.3, alpha=0.2, sampling="systematic")
    assert build_method("omission-systematic(alpha=0.2)", 0.3) == expected


def test_a_rule_for_repbs_windows_is_built_too() -> None:
    text = "repb(score=logit_grad_norm, rule=importance(epsilon=0.1))"
    expected = RePB(prune_ratio=0.5, score="logit_grad_norm", rule=Importance(epsilon=0.1))
    assert build_method(text, 0.5) == expected
    with pytest.raises(UnknownNameError, match=r"rule 'importanc'.*nearest is 'importance'"):
        require_method("repb(rule=importanc())")
    with pytest.raises(UnknownNameError, match=r"setting of importance 'eps'"):
        require_method("repb(rule=importance(eps=1))")


def test_each_spelling_is_a_row_of_its_own() -> None:
    rows = asked_rows(["repb", "repb(window=8)"], [0.5], [None])
    assert [str(row) for row in rows][-2:] == ["repb 0.5", "repb(window=8) 0.5"]


@pytest.mark.parametrize(
    "text", ["repb(", "repb(8)", "repb(window=8", "repb(**x)", "repb(window=f(1))", "repb(a=1) x"]
)
def test_what_is_not_a_call_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SettingError, match=r"a name with settings.*'repb\(setting=value\)'"):
        require_method(text)


def test_an_unknown_setting_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"setting of omission 'alfa'.*nearest is 'alpha'"):
        require_method("omission(alfa=0.2)")


def test_what_the_name_stands_for_cannot_be_set_again() -> None:
    with pytest.raises(UnknownNameError, match="setting of random 'mode'"):
        require_method("random(mode=cycle)")


def test_a_value_that_the_method_refuses_stops_before_any_training() -> None:
    with pytest.raises(SettingError, match=r"Omission\(alpha=2\)"):
        require_method("omission(alpha=2)")
