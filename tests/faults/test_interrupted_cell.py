"""The stop button in the middle of a cell that trains: nothing lost, the next run goes on."""

import json
import time

import pytest
from jupyter_client.manager import start_new_kernel

from tests.faults import jobs
from tests.faults.harness import LONG, run
from tests.faults.test_training_killed import left_behind, same

CELL = """
import json, torch
torch.set_num_threads(1)
from recformer_utils.training import run_model_training
result = run_model_training(json.loads({config!r}))
print("ended after epoch", len(result.history))
"""


@pytest.fixture
def kernel():
    manager, client = start_new_kernel(kernel_name="python3")
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def reply(client, message: str) -> dict:
    while True:
        answer = client.get_shell_msg(timeout=120)
        if answer["parent_header"]["msg_id"] == message:
            return answer["content"]


def test_an_interrupt_keeps_what_was_trained(kernel, config_for, tmp_path):
    manager, client = kernel
    epochs = {"num_epochs": 12}
    whole = config_for(tmp_path / "whole", **epochs)
    assert run(jobs.train, whole, folder=tmp_path, logs=tmp_path / "logs").code == 0
    folder = tmp_path / "model"
    source = CELL.format(config=json.dumps(config_for(folder, **epochs)))
    interrupts = 0
    for number in range(40 if LONG else 8):
        message = client.execute(source, stop_on_error=False)
        deadline = time.monotonic() + 60
        while not (folder / "run.json").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.02 + 0.06 * number)
        manager.interrupt_kernel()
        content = reply(client, message)
        if content["status"] == "ok":  # it had ended before
            break
        interrupts += 1
        assert content["ename"] == "KeyboardInterrupt"
        assert not list(folder.glob(".*.part"))
    assert interrupts >= 1
    content = reply(client, client.execute(source, stop_on_error=False))
    assert content["status"] == "ok", content
    assert same(left_behind(folder), left_behind(tmp_path / "whole"))
