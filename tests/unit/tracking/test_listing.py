"""Models of a registry on this machine: what is too large or a link is refused by the listing, and never downloaded."""

import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlparse

import pytest
from mlflow import MlflowClient

from trainer import InputError
from trainer.model.model_folder import CONTRACT_FILE, WEIGHTS_FILE, save_segmenter
from trainer.model.segmenter import Segmenter
from trainer.tracking.fetch import fetch
from trainer.tracking.listing import require_listed


@pytest.mark.timeout(120)
def test_only_named_regular_files_of_a_bounded_size_are_fetched(
    tmp_path: Path, make_segmenter: Callable[..., Segmenter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store.db")
    client = MlflowClient()
    experiment = client.create_experiment("models", (tmp_path / "artifacts").as_uri())
    model = client.create_logged_model(experiment, "hostile")
    save_segmenter(make_segmenter(), tmp_path / "model")
    client.log_model_artifacts(model.model_id, str(tmp_path / "model"))
    client.finalize_logged_model(model.model_id, "READY")
    client.create_registered_model("hostile")
    client.create_model_version("hostile", f"models:/{model.model_id}", model_id=model.model_id)
    stored = Path(urlparse(client.get_logged_model(model.model_id).artifact_location).path)
    assert (stored / WEIGHTS_FILE).is_file()
    fetched = fetch("models:/hostile/1", tmp_path / "fetched")
    assert sorted(path.name for path in fetched.iterdir()) == [CONTRACT_FILE, WEIGHTS_FILE]

    require_listed(f"models:/{model.model_id}", CONTRACT_FILE, 10**9)
    for name in (CONTRACT_FILE, WEIGHTS_FILE):
        shutil.move(stored / name, tmp_path / "aside")
        for target in (Path("/dev/zero"), Path("/etc/passwd"), tmp_path / "aside", stored / name):
            (stored / name).symlink_to(target)
            with pytest.raises(InputError, match=r"models:/hostile/1: .*(is a link|Too many levels)"):
                fetch("models:/hostile/1", tmp_path / "elsewhere")
            with pytest.raises((InputError, OSError), match=f"{name} is a link|Too many levels"):
                require_listed(f"models:/{model.model_id}", name, 10**9)
            (stored / name).unlink()
        with (stored / name).open("wb") as file:
            file.truncate(30_000_000_000)  # without blocks on the disk
        with pytest.raises(InputError, match=rf"{name} has 30,000,000,000 bytes, more than .*not downloaded"):
            fetch("models:/hostile/1", tmp_path / "elsewhere")
        (stored / name).unlink()
        (stored / name).mkdir()
        (stored / name / name).touch()
        with pytest.raises(InputError, match=rf"{name} is missing"):
            fetch("models:/hostile/1", tmp_path / "elsewhere")
        shutil.rmtree(stored / name)
        shutil.move(tmp_path / "aside", stored / name)
    assert not [path for path in (tmp_path / "elsewhere").iterdir() if path.name == WEIGHTS_FILE]
