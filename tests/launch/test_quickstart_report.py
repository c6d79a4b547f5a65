"""The quickstart's last page: what the report says of the run is read off sources as they are."""

from argparse import Namespace

from iadgpt_jax.data.sources.procedural import ProceduralSource
from launch.quickstart import facts


def test_the_report_counts_the_categories_of_both_sources():
    results = {"wall_seconds": 9.0, "training_seconds": 5.0, "export": {"note": ""}}
    train, held_out = ProceduralSource(0, "train", 5, 1, 1), ProceduralSource(0, "held_out", 3, 1, 1)
    told = facts(Namespace(workdir="w", seed=0), results, train, held_out)
    assert told["products"] == "5 training categories, 3 held out, a quarter of them of unseen families"
    assert told["export"] == "equal to stock transformers"
