"""What is left in an output folder by earlier calls of predict.py."""

from pathlib import Path

from trainer.predict import earlier_results


def test_results_of_other_pictures_are_found(tmp_path: Path) -> None:
    names = ["masks/a.png", "masks/b.1.png", "masks/below/a.png", "overlays/a.jpg", "overlays/below/c.jpg"]
    for name in [*names, "masks/notes.txt", "report.json"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def found(*done: str) -> list[str]:
        return [str(path.relative_to(tmp_path)) for path in earlier_results(tmp_path, set(map(Path, done)))]

    assert found() == names
    assert found("a", "b.1") == ["masks/below/a.png", "overlays/below/c.jpg"]
    assert found("a", "b.1", "below/a", "below/c") == []
    assert earlier_results(tmp_path / "new", set()) == []
