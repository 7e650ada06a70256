"""Facts about the model that made a result: in reports, in the texts of PNG files, and for a person."""

from typing import Any

from trainer import redact_all
from trainer.inference.model import Model
from trainer.system.provenance import program_version

TRACED = ("version", "alias", "run_id", "commit", "dataset_digest", "threshold")
"""Facts about the model that PNG files hold, beside its name and the program."""


def model_facts(model: Model) -> dict[str, Any]:
    """Facts about a model, for the reports."""
    contract = model.segmenter.contract
    return model.origin | {
        "commit": contract.commit,
        "dataset_digest": contract.dataset_digest,
        "classes": list(contract.class_names),
        "threshold": contract.threshold if contract.channels == 1 else None,
        "program": f"segtrainer {program_version()}",
    }


def png_texts(facts: dict[str, Any]) -> dict[str, str]:
    """Texts of PNG files by keyword, from the facts about a model."""
    texts = {"Software": facts["program"], "model": facts.get("name") or facts["uri"]}
    texts |= {key: f"{facts[key]}" for key in TRACED if facts.get(key) not in (None, "")}
    return redact_all(texts)


def model_title(facts: dict[str, Any]) -> str:
    """Name and version of a model for a person."""
    title: str = redact_all(" version ".join(filter(None, (facts.get("name") or facts["uri"], facts.get("version")))))
    return title
