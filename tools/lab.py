"""How `make lab` reads and writes notebooks: one that is only looked at stays as it is.

JupyterLab notes in every open notebook which kernel and which Python it runs on. A stored one does
not say, so each would count as changed as soon as it is opened, and be saved so two minutes later.
"""

from ipykernel.ipkernel import IPythonKernel
from jupyter_client.kernelspec import get_kernel_spec
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

from tools.notebooks import STORED

_spec = get_kernel_spec("python3")
RUNNING = {
    "kernelspec": {
        "display_name": _spec.display_name,
        "language": _spec.language,
        "name": "python3",
    },
    "language_info": IPythonKernel.language_info,
}


def replaced(model: dict, old: dict, new: dict) -> dict:
    """The server's model of a file; a notebook's metadata in it with new values for these old ones."""
    if model["type"] == "notebook" and model.get("content"):
        metadata = model["content"]["metadata"]
        metadata |= {key: new[key] for key in old if metadata.get(key) == old[key]}
    return model


class Contents(AsyncLargeFileManager):
    """The server's files; the browser sees notebooks as the kernel will describe itself."""

    async def get(self, *arguments, **options) -> dict:
        return replaced(await super().get(*arguments, **options), STORED, RUNNING)

    async def save(self, model: dict, path: str = "") -> dict:
        return await super().save(replaced(model, RUNNING, STORED), path)
