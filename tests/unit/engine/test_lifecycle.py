"""Lifecycle of a run: the null one stands in for the real one everywhere."""

import inspect
from pathlib import Path

import pytest

from trainer.cli import parse
from trainer.config import Config, DataConfig, to_yaml
from trainer.engine.ending import STATES
from trainer.engine.lifecycle import Lifecycle, NullLifecycle, lifecycle, moved_root
from trainer.system.run_folder import RunFolder


def public(kind: type) -> dict[str, inspect.Signature]:
    functions = inspect.getmembers(kind, inspect.isfunction)
    return {name: inspect.signature(function) for name, function in functions if not name.startswith("_")}


def test_both_take_the_same_calls() -> None:
    real, null = public(Lifecycle), public(NullLifecycle)
    assert set(real) == set(null)
    for name, signature in real.items():
        assert signature.return_annotation == null[name].return_annotation, name
        count = len(signature.parameters)
        variable = any(one.kind is one.VAR_POSITIONAL for one in null[name].parameters.values())
        assert variable or count == len(null[name].parameters), name


@pytest.mark.parametrize(("rank", "kind"), [(None, Lifecycle), ("0", Lifecycle), ("1", NullLifecycle)])
def test_the_main_process_has_the_real_one(
    rank: str | None, kind: type, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    life = lifecycle(Config())
    assert type(life) is kind
    assert ("settings that differ" in capsys.readouterr().out) is (kind is Lifecycle)


@pytest.mark.parametrize("state", STATES)
def test_the_null_one_ends_with_the_same_code(state: str) -> None:
    assert NullLifecycle(Config()).end(state, None) == STATES[state][1]


@pytest.mark.parametrize("stored", ["cats", ["cats", "more cats"]])
@pytest.mark.parametrize("given", ["/data/it's cats", ["/data/cats", "../süß"], "cats"])
def test_a_folder_of_data_that_was_given_anew_is_named_again(
    given: str | list[str], stored: str | list[str], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(to_yaml(Config(data=DataConfig(root=stored))))
    options = moved_root(Config(data=DataConfig(root=given)), RunFolder(tmp_path))
    if given == stored:
        assert options == []
    else:
        assert parse(options).data.root == given
    assert moved_root(Config(), RunFolder(tmp_path)) == []
