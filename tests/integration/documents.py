"""Documents for the rigs: sentences of our own with names put in, the same for the same seed."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass

CHEMICALS = (
    "lithium", "heparin", "enalapril", "cisplatin", "metformin", "simvastatin", "amoxicillin", "clozapine",
    "paracetamol", "doxorubicin", "valproic acid", "amiodarone", "isoniazid", "carbamazepine", "levodopa",
)
DISEASES = (
    "renal failure", "thrombocytopenia", "cough", "hearing loss", "lactic acidosis", "rhabdomyolysis", "rash",
    "agranulocytosis", "liver failure", "cardiomyopathy", "tremor", "pneumonitis", "hepatitis", "hyponatremia",
    "dyskinesia",
)
SENTENCES = (
    "{disease} developed in {n} patients who had been given {chemical}.",
    "After {chemical} was stopped, the {disease} went back within {n} days.",
    "We describe a case of {disease} induced by {chemical}.",
    "No {disease} was seen under {chemical} or {chemical2}.",
    "{chemical} is used against {disease2}; {disease} is among its harms.",
    "The patient had a history of {disease} and {disease2} (aged {n}).",
    "Treatment with {chemical} was continued at a lower dose.",
)


@dataclass(frozen=True)
class Text:
    """A document to be sent: its id and text."""

    doc_id: str
    text: str

    def value(self) -> bytes:
        return json.dumps({"doc_id": self.doc_id, "text": self.text, "lang": "en"}).encode()


def sentence(random_: random.Random) -> str:
    made = random_.choice(SENTENCES).format(
        chemical=random_.choice(CHEMICALS), chemical2=random_.choice(CHEMICALS),
        disease=random_.choice(DISEASES), disease2=random_.choice(DISEASES), n=random_.randint(2, 90),
    )
    return made[0].upper() + made[1:]


def texts(count: int, seed: int = 0, longest: int = 8) -> list[Text]:
    """`count` documents of 1 to `longest` sentences; every fiftieth is a long one of some hundred."""
    random_ = random.Random(seed)
    out = []
    for i in range(count):
        length = 200 if i % 50 == 49 else random_.randint(1, longest)
        out.append(Text(f"doc-{seed}-{i:05d}", " ".join(sentence(random_) for _ in range(length))))
    return out
