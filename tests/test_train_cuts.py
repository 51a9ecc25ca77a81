"""The power goes while a run saves: whatever is left, it goes on from a whole checkpoint with the records beside it."""

import json
from pathlib import Path

import power_cut
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from david.train import checkpoint, run, shelf
from david.train.journal import Journal, read


@pytest.mark.parametrize("damaged", [False, True])
def test_a_power_cut_while_saving_leaves_a_whole_checkpoint_its_records_and_weights(tmp_path: Path, damaged: bool):
    network = nn.Linear(2, 2)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    out = tmp_path / "run"
    (out / "checkpoints").mkdir(parents=True)

    def advance(step: int) -> None:
        """Three steps that the journal tells, their checkpoint, and the weights under their own name."""
        journals = [Journal(out / name) for name in run.RECORDS]
        for number in range(step - 2, step + 1):
            optimiser.zero_grad()
            network(torch.ones(1, 2)).square().sum().backward()
            optimiser.step()
            for journal in journals:
                journal.write({"step": number, "loss": 1 / number})
        marks = {journal.path.name: journal.sync() for journal in journals}
        how = {"keep": 1, "label": {"david": json.dumps({"step": step})}}
        saved = checkpoint.save(out / "checkpoints", step, network, optimiser, {"records": marks}, **how)
        checkpoint.publish(saved, out / run.WEIGHTS)
        for journal in journals:
            journal.close()

    advance(3)
    weights = {3: (out / run.WEIGHTS).read_bytes()}
    if damaged:  # the checkpoint of a step that the run comes past again
        path = shelf.path_of(out / "checkpoints", 6)
        path.mkdir()
        (path / shelf.MODEL).write_bytes(b"rubbish")
    states = list(power_cut.cuts(out, lambda: advance(6)))
    weights[6] = (out / run.WEIGHTS).read_bytes()
    seen = set()
    for cut in states:
        left = cut.lay(tmp_path / "left")
        step, notes = shelf.newest_whole(left / "checkpoints")
        assert step in (3, 6) and (damaged or not notes), cut.when
        whole = shelf.path_of(left / "checkpoints", step)
        marks = json.loads((whole / shelf.STATE).read_text())["records"]
        assert run.cut_back(left, step, marks) == [], cut.when
        for name in run.RECORDS:
            assert [record["step"] for record in read(left / name)] == list(range(1, step + 1)), cut.when
        assert load_file(whole / shelf.MODEL).keys() == network.state_dict().keys()
        assert (left / run.WEIGHTS).read_bytes() in weights.values(), cut.when
        checkpoint.publish(whole, left / run.WEIGHTS)
        assert (left / run.WEIGHTS).read_bytes() == weights[step], cut.when
        checkpoint.clean(left / "checkpoints")
        seen.add(step)
    assert seen == {3, 6} and len(states) > 50
